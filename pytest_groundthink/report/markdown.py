"""The report as Markdown, for a pull request or a job summary. Needs nothing but the page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pytest_groundthink.report.dashboard import Dashboard
from pytest_groundthink.report.page import CheckView, Page
from pytest_groundthink.scorecard import Decision

MARKS = {"PASS": "✅", "WARN": "⚠️", "FAIL": "❌", "NODATA": "❔", "NODATA!": "💥"}
OUTCOMES = {"GO": "✅", "CAUTION": "⚠️", "HOLD": "⛔"}
MISSING = "-"


def report_markdown(page: Page, ladder: str) -> str:
    """The report of one scorecard.

    Args:
        page: What it says.
        ladder: What the scale ladder shows, or why there is none.
    """
    parts = [f"## {_outcome(page)}", f"{plain(', '.join(page.facts))}", *(f"> {plain(said)}" for said in page.warnings)]
    parts += [", ".join(f"{count} {status}" for status, count in page.counts)]
    if page.decision is not None:
        parts += _decision(page.decision, 3)
    noticed = [view for view in page.checks if view.verdict not in ("PASS", "n/a")]
    if noticed:
        parts += ["### What did not pass", _checks(noticed)]
        told = [f"- **{plain(view.id)}**: {plain(view.remedy)}" for view in noticed if view.remedy]
        parts += ["\n".join(told)] if told else []
    parts += ["### Scale ladder", plain(ladder)]
    parts.append(_folded(f"All {len(page.checks)} checks", _checks(page.checks)))
    if page.statefulness is not None:
        rows = [
            (row.title, row.answer, ", ".join(f"{id_} {word}" for id_, word, _ in row.checks))
            for row in page.statefulness.conditions
        ]
        shown = _table(("condition", "answer", "checks"), rows)
        figures = [(row.label, row.check, *row.values) for row in page.statefulness.rows]
        if figures:
            shown += "\n\n" + _table(("figure", "check", *page.statefulness.components), figures)
        parts.append(_folded("Statefulness report", shown))
    measured = [(view.id, view.measures, view.items, view.source) for view in page.checks]
    parts.append(_folded("How each number was measured", _table(("check", "measures", "items", "source"), measured)))
    parts.append(_folded("Provenance", _table(("what", "value"), page.provenance)))
    return "\n\n".join(parts) + "\n"


def dashboard_markdown(board: Dashboard, ladder: str) -> str:
    """The dashboard of several scorecards; arguments as for `report_markdown`."""
    names = [column.name for column in board.columns]
    statuses = [status for status, _ in board.columns[0].page.counts]
    overview = [
        (
            column.name,
            column.scale,
            column.params,
            column.step,
            column.page.headline,
            column.total,
            *(str(count) for _, count in column.page.counts),
        )
        for column in board.columns
    ]
    parts = [
        f"## {len(names)} scorecards",
        _table(("scorecard", "scale", "parameters", "step", "decision", "total", *statuses), overview),
    ]
    parts += [f"> {plain(note)}" for note in board.notes]
    if board.differences:
        parts += ["### What these runs differ in", _table(("what", *names), [(n, *v) for n, v in board.differences])]
    parts += ["### Scale ladder", plain(ladder)]
    rows = [(f"{row.id} {row.title}", *(_cell(view) for view in row.cells)) for row in board.rows]
    parts += ["### Checks", _table(("check", *names), rows)]
    for column in board.columns:
        if column.page.decision is not None:
            parts += [f"### {_outcome(column.page)}", *_decision(column.page.decision, 4)]
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """Text as Markdown that shows it as it is, on one line; also within a table."""
    escaped = re.sub(r"([\\`*_{}\[\]|#~])", r"\\\1", " ".join(text.split()))
    escaped = escaped.replace("&", "&amp;").replace("<", "&lt;")
    return "&gt;" + escaped[1:] if escaped.startswith(">") else escaped  # there it would be a quotation


def _outcome(page: Page) -> str:
    mark = OUTCOMES.get(page.headline, "")
    return f"{mark} {plain(page.label)}: {page.headline}".strip()


def _decision(decision: Decision, level: int) -> list[str]:
    way = f"From {decision.from_scale}" + (f" to {decision.to_scale}" if decision.to_scale else "")
    rows = [
        (name, category.shown, f"{category.weight:g}", "; ".join(category.evidence))
        for name, category in decision.categories.items()
    ]
    heading = "#" * level
    parts = [f"{plain(way)}, total {decision.total:g}."]
    if decision.blockers:
        parts += [f"{heading} What blocks it", "\n".join(f"1. {plain(blocker)}" for blocker in decision.blockers)]
    parts += [f"{heading} Why", "\n".join(f"- {plain(reason)}" for reason in decision.reasons)]
    for title, lines in (("What would change it", decision.next_steps), ("How its runs differ", decision.notes)):
        if lines:
            parts += [f"{heading} {title}", "\n".join(f"- {plain(line)}" for line in lines)]
    return [*parts, _table(("category", "score", "weight", "evidence"), rows)]


def _checks(views: Sequence[CheckView]) -> str:
    rows = [
        (
            f"{view.id} {view.title}",
            f"{MARKS.get(view.verdict, '')} {view.verdict}",
            "; ".join(value.value for value in view.judged) or MISSING,
            "; ".join(value.needs for value in view.judged) or MISSING,
            view.reason if view.verdict != "PASS" else "",
        )
        for view in views
    ]
    return _table(("check", "verdict", "value", "passes", "reason"), rows)


def _cell(view: CheckView | None) -> str:
    if view is None:
        return "not run"
    value = f" {view.judged[0].value}" if view.judged else ""
    return f"{MARKS.get(view.verdict, '')} {view.verdict}{value}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_line(headings), "|" + "---|" * len(headings), *(_line(row) for row in rows)]
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(plain(cell) for cell in cells) + " |"


def _folded(title: str, content: str) -> str:
    return f"<details>\n<summary>{title}</summary>\n\n{content}\n\n</details>"
