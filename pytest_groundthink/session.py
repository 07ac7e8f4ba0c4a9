"""A run in which something is judged: its subjects, its checks, and what becomes of the verdicts."""

from __future__ import annotations

import gc
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from gt.resources import fixtures_dir
from pytest_groundthink import scorecard
from pytest_groundthink.checks import Check, CheckBook, load_checks
from pytest_groundthink.collector import Collector, case_id
from pytest_groundthink.decision import decide
from pytest_groundthink.judge import CONTEXT, Context, Judge, attach_context
from pytest_groundthink.ladder import FOLDER, read_ladder, recorded
from pytest_groundthink.options import Settings, selects
from pytest_groundthink.progress import Progress
from pytest_groundthink.provenance import provenance
from pytest_groundthink.rules import ScaleRule, load_matrix, load_scales
from pytest_groundthink.scorecard import CheckResult, Scorecard, SubjectSection, Summary
from pytest_groundthink.threads import choose_waiting
from pytest_groundthink.verdict import Status
from pytest_groundthink.vocabulary import CAPABILITIES, EVIDENCE, TIERS

if TYPE_CHECKING:
    from gt.subject import Subject, SubjectPlan
    from pytest_groundthink.history import History

CASE = pytest.StashKey[tuple[Check, str]]()
JUDGE = pytest.StashKey[Judge]()


class JudgingSession:
    """Plans subjects, hands them to tests and turns verdicts into scorecards.

    Raises:
        ValueError: If an option is wrong: one line that says what, and what would be right.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.settings = Settings.from_config(config)
        self.is_worker = hasattr(config, "workerinput")
        choose_waiting(shared=self.is_worker or bool(config.getoption("numprocesses", None)))
        self.graduating = selects(config.getoption("markexpr", ""), {"graduation"})
        self.book: CheckBook = load_checks(fixtures_dir() / "checks.yaml", self.settings.checks)
        if self.settings.profile not in self.book.profiles:
            known = ", ".join(self.book.profiles)
            raise ValueError(f"--gt-profile {self.settings.profile}: no such profile; expected one of {known}")
        self.scales = load_scales(fixtures_dir() / "scales.yaml")
        self.matrix = load_matrix(fixtures_dir() / "decision.yaml")
        self.plans = self._plan()
        if self.settings.scorecard is not None and not self.is_worker:
            for label in self.plans:
                scorecard.require_writable(self.scorecard_path(label, self.settings.scorecard))
        if self.settings.report is not None and not self.is_worker:
            from pytest_groundthink.report.make import require_report

            require_report(self.settings.report, "--gt-report")
        self.ladders = {label: self._ladder(plan) for label, plan in self.plans.items()}
        self.progress = Progress(config)
        self.collector = Collector(self.book.checks, self.plans, self.settings.profile)
        self.cards: dict[str, Scorecard] = {}
        self._contexts: dict[str, Context] = {}
        self._capabilities: dict[str, frozenset[str]] = {}
        self.write_errors: list[str] = []
        self.history = self._history()
        self.report_written: Path | None = None

    def prepare(self) -> None:
        """Begin what takes seconds on first use and needs nothing of what is loaded until then: compiling kernels."""
        from gt.compiler import start_builds

        hands_out = self.config.pluginmanager.hasplugin("dsession")  # its workers measure, and compile for themselves
        if not (hands_out or self.settings.device == "cuda" or self.config.option.collectonly):
            start_builds()

    @staticmethod
    @contextmanager
    def loading() -> Iterator[None]:
        """Load modules without looking for garbage among them, now or when Python ends.

        What torch is made of is all in use: going through it again and again is a quarter of the time that loading and
        leaving it takes.
        """
        collects = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            gc.freeze()
            if collects:
                gc.enable()

    def parametrize(self, metafunc: pytest.Metafunc, check_id: str) -> None:
        """Run a check's test once for each subject.

        Raises:
            pytest.Collector.CollectError: If there is no such check.
        """
        if check_id not in self.book.checks:
            raise pytest.Collector.CollectError(
                f"no check {check_id!r}: expected one of {', '.join(self.book.checks)}, or define it with --gt-checks"
            )
        ids = [case_id(check_id, label) for label in self.plans]
        metafunc.parametrize("subject", list(self.plans), ids=ids, indirect=True, scope="session")

    def mark(self, items: list[pytest.Item]) -> None:
        """Put kind, tier and graduation markers on the checks' tests, and run these in the order of the checks.

        Raises:
            pytest.UsageError: If two tests ask for the same check.
        """
        seen: dict[tuple[str, str], str] = {}
        for item in items:
            label = getattr(item, "callspec", None) and item.callspec.params.get("subject")  # type: ignore[attr-defined]
            marker = item.get_closest_marker("check")
            if marker is None or label not in self.plans:
                continue
            check = self.book.checks[marker.args[0]]
            item.stash[CASE] = (check, label)
            other = seen.setdefault((check.id, label), item.nodeid)
            if other != item.nodeid:
                raise pytest.UsageError(f"check {check.id} is asked for twice: by {other} and by {item.nodeid}")
            for name in (check.kind, *TIERS[TIERS.index(check.tier) :]):
                item.add_marker(name)
            rule = self.rule(label)
            if rule is not None and (check.id in rule.asked or check.id in self._logs(label)):
                item.add_marker("graduation")
        self._sort(items)

    def _logs(self, label: str) -> set[str]:
        """The check of the training log, where the subject has one: the decision looks at it at every scale."""
        if "training_log" not in self.plans[label].capabilities:
            return set()
        return {category.log_check for category in self.matrix.categories.values() if category.log_check}

    def _sort(self, items: list[pytest.Item]) -> None:
        """Gates first: what they find makes the long checks moot. Other tests stay where they are."""
        places = [place for place, item in enumerate(items) if CASE in item.stash]
        labels, checks = list(self.plans), list(self.book.checks)

        def rank(item: pytest.Item) -> tuple[int, int]:
            check, label = item.stash[CASE]
            return labels.index(label), checks.index(check.id)

        ordered = sorted((items[place] for place in places), key=rank)
        for place, item in zip(places, ordered, strict=True):
            items[place] = item

    @contextmanager
    def guarded(self, item: pytest.Item, *, setup: bool = False) -> Iterator[None]:
        """Around the set-up or the call of a check's test: what it raises becomes NODATA with the exception's text."""
        judge = self.judge_for(item)
        if judge is None:
            yield
            return
        self.require_capabilities(item, judge)
        self.progress.begin(judge.check.id)
        try:
            yield
            if not setup and judge.verdict is None:
                raise RuntimeError(f"the test of {judge.check.id} never called judge()")
        except pytest.exit.Exception:
            raise
        except Exception as error:
            judge.raised(error)
        finally:
            self.progress.end()

    def attach(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Send along with a check's report what surrounds its verdict."""
        case = item.stash.get(CASE, None)
        if case is None:
            return
        context = self._contexts.get(case[1])
        if context is not None:
            item.stash.setdefault(CONTEXT, {}).update(context)
        attach_context(item, report)

    def judge_for(self, item: pytest.Item) -> Judge | None:
        """The judge of a check's test; None for any other test."""
        case = item.stash.get(CASE, None)
        if case is None:
            return None
        judge = item.stash.get(JUDGE, None)
        if judge is None:
            judge = item.stash[JUDGE] = Judge(item, *case, self.settings.profile, self.settings.strict)
        return judge

    def require_capabilities(self, item: pytest.Item, judge: Judge) -> None:
        """Skip a check that this subject cannot be asked: if possible before anything is loaded."""
        label = item.stash[CASE][1]
        lacking = sorted(judge.check.requires - self._capabilities.get(label, self.plans[label].capabilities))
        if not lacking:
            return
        if "tokenizer" in lacking and "subword_tokenizer" in lacking:
            lacking.remove("subword_tokenizer")  # of what kind it is will be seen when it is there
        words = ", ".join(CAPABILITIES[capability] for capability in lacking)
        if set(lacking) <= EVIDENCE:
            judge.no_data(f"the subject lacks {words}")
        judge.not_applicable(f"not required of this kind of model, which lacks {words}")

    def load(self, label: str) -> Iterator[Subject]:
        """Load a subject, and let go of it when the next one comes."""
        from gt.subject import load_subject

        subject = load_subject(self.plans[label], self.progress)
        self._capabilities[label] = subject.capabilities
        self._contexts[label] = {"subject": subject.describe(), "environment": subject.environment()}
        yield subject

    def finish(self, session: pytest.Session, exitstatus: int) -> None:
        """Make, keep and write the scorecards, and set the exit status that they call for."""
        if self.is_worker or self.config.option.collectonly:
            return
        interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
        reported = {label: self.collector.reported_of(label) for label in self.plans}
        if interrupted:
            self.collector.finish("not run: interrupted")
        elif session.shouldfail or session.shouldstop:
            self.collector.finish(f"not run: {session.shouldfail or session.shouldstop}")
        else:
            self.collector.finish("collected but never reported (crashed worker or time-out)")
        to_the_end = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        cut_short = not to_the_end or bool(session.shouldfail or session.shouldstop)
        for label in self.plans:
            if not self.collector.collected_of(label):
                continue
            card = self._card(label, reported[label], complete=not cut_short)
            self.cards[label] = card
            if self.settings.scorecard is not None:
                path = self.scorecard_path(label, self.settings.scorecard)
                try:
                    scorecard.write(card, path)
                except OSError as error:
                    self.write_errors.append(f"the scorecard {path} could not be written: {error.strerror or error}")
            if self.history is not None:
                try:
                    self.history.add(card)
                except ValueError as error:
                    self.write_errors.append(f"the scorecard was not recorded: {error}")
        self._report()
        if session.exitstatus == pytest.ExitCode.OK and (self.write_errors or self._calls_for_failure()):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _report(self) -> None:
        """Write what people read, where it was asked for: `--gt-report`, and the summary of a GitHub job."""
        from pytest_groundthink.report import github, make

        if not self.cards:
            return
        cards = list(self.cards.values())
        if self.settings.report is not None:
            try:
                make.write_report(cards, self.book, self.settings.report)
                self.report_written = self.settings.report
            except (OSError, ValueError) as error:
                self.write_errors.append(f"the report {self.settings.report} could not be written: {error}")
        if (summary := github.summary_path()) is not None:
            try:
                github.add_summary(make.as_markdown(cards, self.book), summary)
            except OSError as error:
                self.write_errors.append(f"the job summary {summary} could not be written: {error.strerror or error}")

    def scorecard_path(self, label: str, path: Path) -> Path:
        """Where the scorecard of a subject goes."""
        return scorecard.path_for(path, label, len(self.plans))

    def rule(self, label: str) -> ScaleRule | None:
        """What the subject's scale requires; None where it has no scale that we know."""
        return self.scales.get(str(self.plans[label].spec.scale))

    def _history(self) -> History | None:
        """The history that was asked for; with workers only the controller has it."""
        if self.settings.history is None or self.is_worker or self.config.option.collectonly:
            return None
        from pytest_groundthink.history import History, default_path

        return History(Path(self.settings.history) if self.settings.history else default_path(), create=True)

    def _plan(self) -> dict[str, SubjectPlan]:
        from gt.subject import SubjectRequest, plan_subject

        settings = self.settings
        workerinput: dict[str, Any] = getattr(self.config, "workerinput", {})
        run_id = os.environ.get("PYTEST_XDIST_TESTRUNUID") or workerinput.get("testrunuid") or uuid.uuid4().hex
        plans: dict[str, SubjectPlan] = {}
        for model, ckpt in settings.subjects:
            plan = plan_subject(
                SubjectRequest(
                    model=model,
                    ckpt=ckpt,
                    scale=settings.scale,
                    device=settings.device,
                    dtype=settings.dtype,
                    seed=settings.seed,
                    corpus=settings.corpus,
                    fresh=settings.fresh,
                    sabotage=settings.sabotage,
                    run_id=run_id,
                )
            )
            if self.graduating and plan.spec.scale not in self.scales:
                raise ValueError(
                    f"{plan.label} has no scale whose requirements are known, so nothing can be decided: "
                    f"name one with --gt-scale ({', '.join(self.scales)})"
                )
            label, number = plan.label, 2
            while label in plans:
                label, number = f"{plan.label}#{number}", number + 1
            plans[label] = plan
        return plans

    def _ladder(self, plan: SubjectPlan) -> dict[Path, Scorecard]:
        """Scorecards of other scales and runs by file: those given, or those in the folder of the checkpoint."""
        if self.settings.ladder:
            return read_ladder(self.settings.ladder)
        checkpoint = plan.checkpoint
        if checkpoint is None or not (checkpoint.path / FOLDER).is_dir():
            return {}
        return read_ladder([checkpoint.path / FOLDER])

    def _card(self, label: str, reported: int, *, complete: bool) -> Scorecard:
        plan, context = self.plans[label], self.collector.context(label)
        checks = tuple(
            CheckResult.of(self.book.checks[verdict.check], verdict, self.collector.duration(verdict))
            for verdict in self.collector.verdicts(label)
        )
        collected = self.collector.collected_of(label)
        card = Scorecard(
            created=scorecard.now(),
            subject=SubjectSection.of(label, plan, context.get("subject", {})),
            provenance=provenance(self.config, self.settings, self.book, context.get("environment", {})),
            checks=checks,
            summary=Summary.of(
                checks, collected=len(collected), reported=reported, complete=complete, scores=self.book.scores
            ),
        )
        rule = self.rule(label)
        if rule is None or not (self.graduating or collected >= set(rule.required) & self.book.checks.keys()):
            return card
        ladder = self.ladders[label]
        decision = decide(card, rule, self.matrix, self.book, list(ladder.values()))
        return scorecard.decided(card, msgspec.structs.replace(decision, ladder=recorded(ladder)))

    def _calls_for_failure(self) -> bool:
        checks = [check for card in self.cards.values() for check in card.checks]
        decisions = [card.decision for card in self.cards.values() if card.decision is not None]
        if any(check.error for check in checks):
            return True
        statuses = {check.status for check in checks}
        outcomes = {decision.outcome for decision in decisions}
        match self.settings.fail_on or ("hold" if decisions else "fail"):
            case "warn":
                return bool(statuses & {Status.WARN, Status.FAIL})
            case "caution":
                return bool(outcomes & {"CAUTION", "HOLD"})
            case "hold":
                return "HOLD" in outcomes
            case _:
                return Status.FAIL in statuses
