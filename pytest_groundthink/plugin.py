"""The pytest plugin: hooks that delegate. Where none of our options and markers is used it does nothing."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_groundthink import options

if TYPE_CHECKING:
    from gt.subject import Subject
    from pytest_groundthink.judge import Judge
    from pytest_groundthink.session import JudgingSession

SESSION = pytest.StashKey["JudgingSession"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options under names that no one else has."""
    options.add_options(parser)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser) -> Generator[None]:
    """Add the short names once every plugin and conftest had its turn."""
    yield
    options.add_short_options(early_config, parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register markers; where we are asked for, find usage errors and point the collection at the suites."""
    asked = options.in_use(config)
    options.register_markers(config)
    if asked:
        start(config)
        options.choose_suites(config)
        options.warn_of_taken_names(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the test of a check once for each subject."""
    marker = metafunc.definition.get_closest_marker("check")
    if marker is not None and marker.args and "judge" in metafunc.fixturenames:
        start(metafunc.config).parametrize(metafunc, marker.args[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: Sequence[str]) -> None:
    """Learn on the controller, which collects nothing itself, that a user's own tests ask for checks."""
    if any("[" in nodeid and "@" in nodeid for nodeid in ids):
        start_for(node.config, ids)


@pytest.fixture(scope="session")
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """The model under judgement, loaded, with its tokenizer and kernels."""
    if not hasattr(request, "param"):
        raise pytest.UsageError("the fixture `subject` needs a test marked with @check and the fixture `judge`")
    yield from start(request.config).load(request.param)


@pytest.fixture
def judge(request: pytest.FixtureRequest, subject: Subject) -> Judge:
    """Judges the measurements of the test's check; to be called once."""
    found = start(request.config).judge_for(request.node)
    if found is None:
        raise pytest.UsageError("the fixture `judge` needs a test marked with @check")
    return found


class JudgingHooks:
    """The hooks of a run in which something is judged."""

    def __init__(self, session: JudgingSession) -> None:
        self.session = session

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """Begin what can be done beside collecting, which loads what measures."""
        self.session.prepare()
        with self.session.loading():
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put markers on the checks' tests, before -m looks at them."""
        self.session.mark(items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what is to be reported."""
        self.session.collector.collected(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Note what is to be reported, when workers collect."""
        self.session.collector.collected(ids)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None]:
        """Skip what the subject cannot be asked; a subject that cannot be loaded is no data."""
        with self.session.guarded(item, setup=True):
            yield

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """A check that raises is no data."""
        with self.session.guarded(pyfuncitem):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Send along what surrounds the verdict."""
        report = yield
        self.session.attach(item, report)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the verdict."""
        self.session.collector.reported(report)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None]:
        """Write the scorecards before anyone reports."""
        self.session.finish(session, exitstatus)
        yield

    @pytest.hookimpl(optionalhook=True)
    def pytest_json_modifyreport(self, json_report: dict[str, Any]) -> None:
        """Enrich pytest-json-report's file."""
        from pytest_groundthink.report import json_report as enriched

        enriched.enrich(json_report, self.session)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the tables and the decision."""
        from pytest_groundthink.report import terminal

        terminal.summarize(terminalreporter, self.session)


def start(config: pytest.Config) -> JudgingSession:
    """The judging session of a run, begun where there is none yet.

    Raises:
        pytest.UsageError: If an option of ours is wrong.
    """
    session = config.stash.get(SESSION, None)
    if session is None:
        from pytest_groundthink.session import JudgingSession

        try:
            session = config.stash[SESSION] = JudgingSession(config)
        except (ValueError, OSError) as error:
            raise pytest.UsageError(" ".join(str(error).split())) from None
        config.pluginmanager.register(JudgingHooks(session), "groundthink-judging")
    return session


def start_for(config: pytest.Config, nodeids: Sequence[str]) -> None:
    """Begin a judging session if these tests, collected by a worker, belong to checks."""
    if config.stash.get(SESSION, None) is not None:
        return
    from pytest_groundthink.session import JudgingSession

    try:
        session = JudgingSession(config)
    except (ValueError, OSError):  # the workers, which judge, report it
        return
    if any(session.collector.case_of(nodeid) for nodeid in nodeids):
        config.stash[SESSION] = session
        config.pluginmanager.register(JudgingHooks(session), "groundthink-judging")
        session.collector.collected(nodeids)
