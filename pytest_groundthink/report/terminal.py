"""The tables at the end of a run: one row for each check, then the decision."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pytest_groundthink.checks import CheckBook
from pytest_groundthink.report import github
from pytest_groundthink.report.words import subject_facts, verdict_word, wrong_answers
from pytest_groundthink.scorecard import CheckResult, Decision, Scorecard
from pytest_groundthink.session import JudgingSession
from pytest_groundthink.verdict import Status

_COLOURS = {
    "PASS": "green",
    "WARN": "yellow",
    "FAIL": "bold red",
    "NODATA": "magenta",
    "GO": "bold green",
    "CAUTION": "bold yellow",
    "HOLD": "bold red",
}


WRONG_SHOWN = 3
"""Wrong answers shown for a check; the scorecard has more."""

GOT_SHOWN = 48
"""Characters shown of an answer."""


def summarize(reporter: pytest.TerminalReporter, session: JudgingSession) -> None:
    """Print the results of every subject, and where its scorecard is.

    Args:
        reporter: Pytest's terminal reporter.
        session: The run.
    """
    if session.is_worker or not session.cards:
        return
    for text, cases in session.collector.tracebacks.items():
        reporter.write_sep("_", f"{', '.join(check for check, _ in cases)} of {cases[0][1]} raised", red=True)
        reporter.write_line(text.rstrip())
    for label, card in session.cards.items():
        reporter.write_sep("=", f"groundthink: {label}")
        _print(reporter, _heading(card), table(card, session.book), *scores(card), *wrong_table(card))
        if card.decision is not None:
            _print(reporter, panel(card.decision))
        if session.settings.scorecard is not None:
            reporter.write_line(f"scorecard: {session.scorecard_path(label, session.settings.scorecard)}")
    if session.history is not None:
        reporter.write_line(f"history: {session.history.path}")
    if session.report_written is not None:
        reporter.write_line(f"report: {session.report_written}")
    for line in github.commands(session.cards.values(), session.book) if github.running() else ():
        reporter.write_line(line)
    for problem in session.write_errors:
        reporter.write_line(problem, red=True)
    if session.settings.fail_on in ("caution", "hold") and not any(card.decision for card in session.cards.values()):
        reporter.write_line(
            f"--gt-fail-on {session.settings.fail_on}: no decision was computed; run -m graduation for one", yellow=True
        )


def table(card: Scorecard, book: CheckBook) -> Table:
    """One row for each check: its verdict, value, band and reason, and the verdict of other profiles beside it."""
    others = sorted({profile for check in card.checks for profile in check.profiles})
    grid = Table(box=None, padding=(0, 1, 0, 0), expand=True, header_style="bold")
    grid.add_column("check", no_wrap=True)
    grid.add_column("verdict", no_wrap=True)
    for profile in others:
        grid.add_column(profile, no_wrap=True)
    grid.add_column("value", no_wrap=True)
    grid.add_column("band", no_wrap=True)
    grid.add_column("reason", ratio=1, overflow="fold")
    for check in card.checks:
        values, bands = _values(check, book)
        grid.add_row(
            check.id,
            _status(check),
            *(_coloured(check.profiles.get(profile)) for profile in others),
            values,
            bands,
            _reason(check),
        )
    return grid


def scores(card: Scorecard) -> tuple[RenderableType, ...]:
    """One line with the derived scores; nothing where none was measured."""
    shown = []
    for name, score in card.summary.scores.items():
        without = f"; without {', '.join(score.missing)}" if score.missing else ""
        shown.append(f"{name} {score.value:.1%} ({', '.join(score.of)}{without})")
    return (Padding(Text(f"scores: {', '.join(shown)}"), (1, 0, 0, 0)),) if shown else ()


def wrong_table(card: Scorecard) -> tuple[RenderableType, ...]:
    """A few answers for each check that did not pass and kept some; nothing if there is none."""
    grid = Table(box=None, padding=(0, 1, 0, 0), expand=True, header_style="bold")
    grid.add_column("wrong", no_wrap=True)
    for heading, ratio in (("said", 2), ("asked", 2), ("expected", 1), ("got", 1)):
        grid.add_column(heading, ratio=ratio, overflow="fold")
    for check in card.checks:
        for one in [] if check.status is Status.PASS else wrong_answers(check)[:WRONG_SHOWN]:
            got = " ".join(one.got.split())[:GOT_SHOWN]
            answer = Text.assemble(got, (f" ({one.why})" if got else f"({one.why})", "dim"))
            grid.add_row(check.id, Text(one.said), Text(one.asked), Text(", ".join(one.expected)), answer)
    return (Padding(grid, (1, 0, 0, 0)),) if grid.row_count else ()


def panel(decision: Decision) -> Panel:
    """The decision: category scores, what blocks it, and why."""
    scores = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    scores.add_column("category", no_wrap=True)
    scores.add_column("score", justify="right", no_wrap=True)
    scores.add_column("weight", justify="right", no_wrap=True)
    scores.add_column("evidence", overflow="fold")
    for name, category in decision.categories.items():
        scores.add_row(name, category.shown, f"x {category.weight:g}", "; ".join(category.evidence))
    parts: list[RenderableType] = [scores]
    sections = (
        ("Blockers", decision.blockers),
        ("Reasons", decision.reasons),
        ("What would change it", decision.next_steps),
        ("The ladder's runs differ", decision.notes),
    )
    for title, lines in sections:
        if lines:
            parts += [Text(f"\n{title}", style="bold"), _list(lines)]
    to = f" to {decision.to_scale}" if decision.to_scale else ""
    heading = Text.assemble(
        (decision.outcome, _COLOURS[decision.outcome]), f"  {decision.from_scale}{to}  total {decision.total:g}"
    )
    return Panel(Group(*parts), title=heading, title_align="left", border_style=_COLOURS[decision.outcome])


def _heading(card: Scorecard) -> RenderableType:
    incomplete = "" if card.summary.complete else "  INCOMPLETE: the run was cut short"
    return Padding(Text(", ".join(subject_facts(card)) + incomplete, overflow="fold"), (0, 0, 1, 0))


def _status(check: CheckResult) -> Text:
    word = verdict_word(check)
    return Text(word, style="dim" if word == "n/a" else _COLOURS[check.status])


def _coloured(status: Status | None) -> Text:
    return Text("-", style="dim") if status is None else Text(status.value, style=_COLOURS[status.value])


def _values(check: CheckResult, book: CheckBook) -> tuple[str, str]:
    """Values and bands of the judged metrics, a line each."""
    if check.threshold is None:
        return "", ""
    described = book.checks[check.id]
    values, bands = [], []
    found = {one.name: one for one in check.measurements}  # also where they were not enough to judge
    for metric, interval in check.threshold.passes.items():
        measured = found.get(metric)
        style = described.style(metric)
        values.append(style.show(measured.value if measured else None))
        bands.append(style.show_interval(interval))
    return "\n".join(values), "\n".join(bands)


def _reason(check: CheckResult) -> Text:
    if check.reason:
        return Text(check.reason)
    return Text(check.title, style="dim")


def _list(lines: tuple[str, ...]) -> Table:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for line in lines:
        grid.add_row("-", line)
    return grid


def _print(reporter: pytest.TerminalReporter, *parts: RenderableType) -> None:
    writer = reporter.config.get_terminal_writer()
    buffer = StringIO()
    console = Console(
        file=buffer,
        width=writer.fullwidth,
        force_terminal=writer.hasmarkup,
        color_system="standard" if writer.hasmarkup else None,
        highlight=False,
        emoji=False,
        markup=False,
        legacy_windows=False,
    )
    console.print(*parts, sep="\n")
    for line in buffer.getvalue().splitlines():
        reporter.write_line(line.rstrip())
