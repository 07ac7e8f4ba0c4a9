from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_groundthink.progress import Progress


class Terminal:
    """Records what pytest's terminal reporter is told."""

    def __init__(self, isatty: bool, verbosity: int = 0) -> None:
        self.isatty, self.verbosity, self.lines = isatty, verbosity, list[str]()
        self.hasmarkup = isatty
        self.config = SimpleNamespace(get_terminal_writer=lambda: SimpleNamespace(fullwidth=40))

    def rewrite(self, line: str, erase: bool) -> None:
        self.lines.append(f"\r{line}")

    def write_line(self, line: str) -> None:
        self.lines.append(line)

    def write(self, text: str, flush: bool) -> None:
        self.lines.append(text)

    def ensure_newline(self) -> None:
        self.lines.append("")

    def flush(self) -> None: ...


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def progress(terminal: Terminal | None, clock: Clock, **config: Any) -> Progress:
    capture = SimpleNamespace(global_and_fixture_disabled=nullcontext)
    plugins = {"terminalreporter": terminal, "capturemanager": capture}
    fake: Any = SimpleNamespace(pluginmanager=SimpleNamespace(get_plugin=plugins.get), **config)
    made = Progress(fake, clock)
    made.begin("G3")
    return made


def run(made: Progress, clock: Clock, seconds: int) -> None:
    for second in range(seconds):
        clock.now = float(second)
        made(second, seconds, "step")
    made.end()


def test_a_terminal_has_one_line_rewritten_and_cleared() -> None:
    terminal, clock = Terminal(isatty=True), Clock()
    run(progress(terminal, clock), clock, 5)
    assert terminal.lines == [
        "",
        "\rG3 step 2/5 about 3 s left",
        "\rG3 step 3/5 about 2 s left",
        "\rG3 step 4/5 about 1 s left",
        "\r",
        "\x1b[1A\n",
    ]


def test_elsewhere_a_plain_line_comes_every_15_seconds() -> None:
    terminal, clock = Terminal(isatty=False), Clock()
    run(progress(terminal, clock), clock, 40)
    assert [line.split()[2] for line in terminal.lines if line] == ["2/40", "17/40", "32/40"]


def test_a_line_never_wraps() -> None:
    terminal, clock = Terminal(isatty=True), Clock()
    made = progress(terminal, clock)
    clock.now = 3.0
    made(1, 2, "x" * 100)
    assert len(terminal.lines[-1]) == 1 + 39


@pytest.mark.parametrize(
    ("terminal", "config"),
    [
        (None, {}),
        (Terminal(isatty=True, verbosity=-1), {}),
        (Terminal(isatty=True), {"workerinput": {}}),
    ],
)
def test_silent_without_terminal_when_quiet_and_in_workers(terminal: Terminal | None, config: dict[str, Any]) -> None:
    clock = Clock()
    run(progress(terminal, clock, **config), clock, 5)
    assert terminal is None or terminal.lines == []


def test_short_checks_need_no_progress() -> None:
    terminal, clock = Terminal(isatty=True), Clock()
    run(progress(terminal, clock), clock, 2)
    assert terminal.lines == []


def test_in_a_session(judged: pytest.Pytester) -> None:
    judged.makepyfile(
        """
        import pytest_groundthink.progress
        from gt.measurement import Measurement
        from pytest_groundthink import check

        @check("G1a")
        def test_it(subject, judge, monkeypatch):
            monkeypatch.setattr(pytest_groundthink.progress, "QUIET_S", 0.0)
            subject.progress(1, 3, "case")
            judge(Measurement(metric="good_share", value=1.0))
        """
    )
    judged.runpytest().stdout.fnmatch_lines(["G1a case 1/3 about * s left"])
