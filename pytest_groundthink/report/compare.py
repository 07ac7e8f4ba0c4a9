"""What `groundthink compare` shows and writes of scorecards: tables in the terminal, Markdown, JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pytest_groundthink.comparison import Against, CheckChange, Comparison, MetricChange, Side, Test
from pytest_groundthink.fail_rules import Hit

_COLOURS = {"worse": "bold red", "better": "green", "": ""}
_NO_STATUS = "-"


@dataclass(frozen=True, slots=True)
class Row:
    """One value of one check, as text; `mood` is "worse", "better" or nothing."""

    check: str
    metric: str
    before: str
    after: str
    change: str
    interval: str
    p_value: str
    verdict: str
    mood: str


def rows(other: Against, every: bool) -> Iterator[Row]:
    """The rows of a comparison, regressions first.

    Args:
        other: What is compared with the baseline.
        every: Also what has not changed and what no band judges.
    """
    for check in other.checks:
        shown = [metric for metric in check.metrics if every or (metric.judged and metric.turn != "same")]
        mood = "worse" if check.regression else "better" if check.improvement else ""
        if shown:
            for index, metric in enumerate(shown):
                yield _row(check, metric, _verdict(check) if not index else "", mood)
        elif every or check.turn in ("worse", "better"):
            yield Row(check.id, check.title, "", "", "", "", "", _verdict(check), mood)


def print_comparison(comparison: Comparison, found: Sequence[Hit], every: bool, console: Console) -> None:
    """Print what differs in how it was measured, then what changed, regressions first, and the rules that were hit."""

    def say(text: str, style: str = "") -> None:
        console.print(text, style=style, highlight=False, markup=False)

    if len(comparison.others) > 1:
        console.print(_overview(comparison))
    for other in comparison.others:
        say(
            f"\n{other.side.name}: {other.side.label}, against {comparison.baseline.name}: {comparison.baseline.label}",
            "bold",
        )
        if other.differences:
            console.print(_differences(other, comparison.baseline))
        else:
            say("Measured in the same way, of the same subject.")
        console.print()
        table = _changes(other, every)
        if table.row_count:
            console.print(table)
        for line in notes(other, every):
            say(line, "dim")
        if line := decision(comparison.baseline, other.side):
            say(line, "bold")
    say(f"\n{tested(comparison)}")
    for hit in found:
        say(f"--fail-on {hit.rule}: {hit.where}: {hit.why}", "bold red")


def markdown(comparison: Comparison, found: Sequence[Hit], every: bool) -> str:
    """The same as Markdown, for a pull request."""
    lines = []
    for other in comparison.others:
        lines += [f"## {_cell(other.side.name)} against {_cell(comparison.baseline.name)}", ""]
        lines += [f"{_cell(other.side.label)} against {_cell(comparison.baseline.label)}", ""]
        if other.differences:
            heading = ("differs", comparison.baseline.name, other.side.name, "so")
            lines += [*markdown_table(heading, [(d.what, d.before, d.after, d.means) for d in other.differences]), ""]
        shown = [
            (
                row.check,
                row.metric,
                row.before,
                row.after,
                f"{row.change} {row.interval}".strip(),
                row.p_value,
                _bold(row),
            )
            for row in rows(other, every)
        ]
        if shown:
            header = ("check", "metric", comparison.baseline.name, other.side.name, "change", "p", "verdict")
            lines += [*markdown_table(header, shown), ""]
        lines += [line + "  " for line in notes(other, every)]
        lines += [f"**{line}**" for line in [decision(comparison.baseline, other.side)] if line]
        lines.append("")
    lines += [tested(comparison), ""]
    lines += [f"- `--fail-on {hit.rule}`: {hit.where}: {hit.why}" for hit in found]
    return "\n".join(lines).rstrip() + "\n"


def record(comparison: Comparison, found: Sequence[Hit]) -> bytes:
    """The comparison as JSON, with what follows from it: changes, significance, regressions and rules that were hit."""

    def derived(value: Any) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        if isinstance(value, CheckChange):
            extra = {"regression": value.regression, "improvement": value.improvement}
            extra["metrics"] = [derived(metric) for metric in value.metrics]
        elif isinstance(value, MetricChange):
            extra = {"change": value.change, "significant": value.significant}
        return {**msgspec.to_builtins(value), **extra}

    others = [
        {**msgspec.to_builtins(other), "checks": [derived(check) for check in other.checks]}
        for other in comparison.others
    ]
    content = {**msgspec.to_builtins(comparison), "others": others, "hits": msgspec.to_builtins(list(found))}
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def notes(other: Against, every: bool) -> list[str]:
    """What the table leaves out, and what limits it."""
    shown = {row.check for row in rows(other, every)}
    found = []
    left = [check for check in other.checks if check.id not in shown]
    for what, own in (
        ("unchanged", [check for check in left if check.turn == "same"]),
        (f"not in {other.side.name}", [check for check in left if check.turn == "gone" and check.applies]),
        (
            f"does not apply in {other.side.name}",
            [check for check in left if check.turn == "gone" and not check.applies],
        ),
        (f"only in {other.side.name}", [check for check in left if check.turn == "new" and check.applied]),
        (f"applies only in {other.side.name}", [check for check in left if check.turn == "new" and not check.applied]),
    ):
        found += [f"{what}: {', '.join(check.id for check in own)}"] if own else []
    reasons: dict[str, dict[str, None]] = {}
    for check in other.checks:
        for metric in check.metrics:
            if metric.test and metric.test.note:
                reasons.setdefault(metric.test.note, {})[check.id] = None
    found += [f"unpaired: {', '.join(ids)}: {note}" for note, ids in reasons.items()]
    if any(not check.same_bands for check in other.checks):
        found.append("*: judged by other bands in each; the values compare, the verdicts do not")
    return found


def tested(comparison: Comparison) -> str:
    """How many tests there were, and what that does to the p-values."""
    if not comparison.tests:
        return "nothing was tested for significance: no judged rate or loss has an interval in both"
    tests = "1 test was" if comparison.tests == 1 else f"{comparison.tests} tests were"
    adjusted = (
        f"p-values are adjusted for all of them ({comparison.adjusted_by}); below {comparison.level:g} is significant"
    )
    return f"{tests} made, on judged rates and losses with an interval; {adjusted}."


def decision(before: Side, after: Side) -> str:
    """What became of the decision; nothing where there is none."""
    if before.outcome is None or after.outcome is None:
        return ""
    scores = [
        f"{name} {_score(before.categories.get(name))} to {_score(score)}"
        for name, score in after.categories.items()
        if before.categories.get(name) != score
    ]
    was = f"{before.outcome} ({before.total:g})"
    now = f"{after.outcome} ({after.total:g})"
    return (
        f"decision: {was} to {now}" + (f": {', '.join(scores)}" if scores else "")
        if was != now
        else f"decision: {now}, unchanged"
    )


def _score(score: int | None) -> str:
    return "n/a" if score is None else str(score)


def _row(check: CheckChange, metric: MetricChange, verdict: str, mood: str) -> Row:
    style, name = metric.style, metric.style.label or metric.name
    points = style.form == "percent"
    change, interval = "", ""
    if metric.change is not None and metric.turn != "same":
        change = _signed(metric.change, points) + (" pp" if points else _relative(metric.before, metric.change))
    if metric.test is not None and change:
        low, high = metric.test.ci95
        interval = f"{_signed(low, points)} to {_signed(high, points)}"
    p_value = _p(metric.test) if change else ""
    return Row(
        check.id,
        f"{name}, {metric.part}" if metric.part else name,
        style.show(metric.before),
        style.show(metric.after),
        change,
        interval,
        p_value,
        verdict,
        mood if metric.turn == mood or check.turn in ("worse", "better") else "",
    )


def _verdict(check: CheckChange) -> str:
    star = "" if check.same_bands else "*"
    if check.before is check.after:
        return (check.after or _NO_STATUS) + star
    if check.turn == "gone":
        return f"{check.before}, {'left out' if check.applies else 'does not apply'}"
    if check.turn == "new":
        return f"{check.after}, {'new' if check.applied else 'applies now'}"
    return f"{check.before} > {check.after}{star}"


def _signed(value: float, points: bool) -> str:
    return f"{value * 100:+.1f}" if points else f"{value:+.3g}"


def _relative(before: float | None, change: float) -> str:
    return f" ({change / abs(before):+.1%})" if before else ""


def _p(test: Test | None) -> str:
    if test is None:
        return ""
    return "<0.001" if test.p_adjusted < 0.001 else f"{test.p_adjusted:.3f}"


def _differences(other: Against, baseline: Side) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    told = any(one.means for one in other.differences)
    for heading in ("differs", baseline.name, other.side.name, *(("so",) if told else ())):
        table.add_column(Text(heading), overflow="fold")
    for one in other.differences:
        cells = (Text(one.what), Text(one.before), Text(one.after), Text(one.means, style="yellow"))
        table.add_row(*cells[: len(table.columns)])
    return table


def _changes(other: Against, every: bool) -> Table:
    shown = list(rows(other, every))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("check", no_wrap=True)
    # Where the terminal is narrow they break between words: after a value, before its relative change.
    table.add_column("metric", min_width=_widest(word for row in shown for word in row.metric.split()))
    for heading in ("before", "after"):
        table.add_column(heading, justify="right", no_wrap=True)
    changes = (part for row in shown for part in row.change.split(" ("))
    table.add_column("change (95%)", justify="right", min_width=1 + _widest(changes))
    table.add_column("p", justify="right", no_wrap=True)
    table.add_column("verdict", min_width=_widest(word for row in shown for word in row.verdict.split()))
    last = ""
    for row in shown:
        change = f"{row.change}\n({row.interval})" if row.interval else row.change
        cells = (
            "" if row.check == last else row.check,
            row.metric,
            row.before,
            row.after,
            change,
            row.p_value,
            row.verdict,
        )
        table.add_row(*(Text(cell) for cell in cells), style=_COLOURS[row.mood])
        last = row.check
    return table


def _widest(texts: Iterable[str]) -> int:
    return max(map(len, texts), default=0)


def _overview(comparison: Comparison) -> Table:
    """The status of every check in every scorecard."""
    table = Table(
        title="status of each check", title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="bold"
    )
    table.add_column("check", no_wrap=True)
    for side in (comparison.baseline, *(other.side for other in comparison.others)):
        table.add_column(Text(side.name), overflow="fold")
    by_id = [{check.id: check for check in other.checks} for other in comparison.others]
    for id_ in dict.fromkeys(check.id for other in comparison.others for check in other.checks):
        found = [checks.get(id_) for checks in by_id]
        before = next((check.before for check in found if check is not None), None)
        cells = [Text(before or _NO_STATUS)]
        for check in found:
            mood = "worse" if check and check.regression else "better" if check and check.improvement else ""
            cells.append(Text((check.after if check else before) or _NO_STATUS, style=_COLOURS[mood]))
        table.add_row(Text(id_), *cells)
    return table


def _bold(row: Row) -> str:
    return f"**{row.verdict}**" if row.mood == "worse" and row.verdict else row.verdict


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def markdown_table(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    lines = [header, ["---"] * len(header), *body]
    return ["| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines]
