"""What `groundthink history` shows: lists, trends with a sparkline, the best values."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pytest_groundthink.history import SHORT, Entry, Point
from pytest_groundthink.verdict import Status, Style

_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN = "_.:-=+*#"
GIT_SHORT = 7  # as git abbreviates
_COLOURS = {Status.PASS: "green", Status.WARN: "yellow", Status.FAIL: "bold red", Status.NODATA: "magenta"}


def sparkline(values: Sequence[float | None], plain: bool = False) -> str:
    """One character for each value, from the lowest to the highest; a blank where there is none.

    Args:
        values: The values in order.
        plain: Of ASCII alone.
    """
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    marks = _PLAIN if plain else _BLOCKS

    def mark(value: float | None) -> str:
        if value is None:
            return " "
        share = (value - low) / (high - low) if high > low else 0.5
        return marks[min(int(share * len(marks)), len(marks) - 1)]

    return "".join(map(mark, values))


def print_entries(entries: Sequence[Entry], total: int, as_json: bool, console: Console) -> None:
    """Print scorecards, a line each."""
    if as_json:
        print(json.dumps(msgspec.to_builtins(list(entries)), indent=2))
        return
    table = _table("id", "created", "subject", "step", "P/W/F/N", "decision", "baseline")
    for entry in entries:
        counts = "/".join(str(entry.counts.get(status.value, 0)) for status in Status)
        table.add_row(
            entry.id[:SHORT],
            entry.created[:16].replace("T", " "),
            entry.label,
            "" if entry.step is None else f"{entry.step:,}",
            counts,
            entry.outcome or "-",
            ", ".join(entry.baselines),
        )
    console.print(table)
    if total > len(entries):
        console.print(f"the last {len(entries)} of {total}", style="dim")


def print_trend(check: str, metric: str, points: Sequence[Point], last: int, as_json: bool, console: Console) -> None:
    """Print the values of each subject over time, with a sparkline that shows the lowest to the highest of them."""
    by_label = {label: [one for one in points if one.entry.label == label] for label in _labels(points)}
    shown = {label: own[-last:] for label, own in by_label.items()}
    if as_json:
        print(json.dumps({"check": check, "metric": metric, "subjects": msgspec.to_builtins(shown)}, indent=2))
        return
    style = _style(check, metric)
    plain = not console.encoding.lower().startswith("utf")
    for label, own in shown.items():
        values = [one.value for one in own]
        known = [value for value in values if value is not None]
        line = Text.assemble(
            (f"{label}  ", "bold"), f"{check} {style.label or metric}  ", (sparkline(values, plain), "cyan")
        )
        if known:
            line.append(f"  {style.show(min(known))} to {style.show(max(known))}")
        if len(by_label[label]) > len(own):
            line.append(f", the last {len(own)} of {len(by_label[label])}", "dim")
        console.print(line)
        if unlike := _unlike(own):
            console.print(f"not all measured alike: {', '.join(unlike)}", style="yellow")
        console.print(_points(own, style), "")


def print_best(check: str, metric: str, points: Sequence[Point], top: int, as_json: bool, console: Console) -> None:
    """Print the best values; what is better the bands of the newest scorecard say.

    Raises:
        ValueError: If no band judges the value, or none was measured.
    """
    judged = [one.passes for one in points if one.passes is not None]
    if not judged or judged[-1] == (None, None):
        raise ValueError(
            f"no band judges {check}.{metric}: nothing says which value is better; groundthink history trend shows all"
        )
    low, high = judged[-1]
    style = _style(check, metric)
    if style.better == "neither":
        raise ValueError(f"of {check}.{metric} neither more nor less is better; groundthink history trend shows all")

    def badness(point: Point) -> float:
        value = point.value or 0.0
        if style.better == "lower":
            return value
        if high is None:
            return -value
        return value if low is None or (low == 0 and high != 0) else max(low - value, value - high, 0.0)

    # Of equals the newest comes first: the sort is stable.
    found = sorted((one for one in reversed(points) if one.value is not None), key=badness)[:top]
    if not found:
        raise ValueError(f"no scorecard of the history has a finite {check}.{metric}")
    if as_json:
        print(json.dumps({"check": check, "metric": metric, "best": msgspec.to_builtins(found)}, indent=2))
        return
    console.print(Text(f"{check} {style.label or metric}, needs {style.show_interval((low, high))}", style="bold"))
    console.print(_points(found, style, subject=True))


def _points(points: Sequence[Point], style: Style, subject: bool = False) -> Table:
    intervals = any(one.ci95 for one in points)
    # 80 columns hold the subject, or the hour and the commit; --json has all three.
    table = _table(
        "created",
        *(("subject",) if subject else ()),
        "value",
        *(("95%",) if intervals else ()),
        *("n", "verdict", "step"),
        *(() if subject else ("commit",)),
        "id",
    )
    for one in points:
        interval = "" if one.ci95 is None else " to ".join(style.show(end) for end in one.ci95)
        table.add_row(
            one.entry.created[: 10 if subject else 16].replace("T", " "),
            *((one.entry.label,) if subject else ()),
            "-" if one.value is None else style.show(one.value),
            *((interval,) if intervals else ()),
            str(one.n or ""),
            Text(one.status.value, style=_COLOURS[one.status]),
            "" if one.entry.step is None else f"{one.entry.step:,}",
            *(() if subject else ((one.entry.commit or "-")[:GIT_SHORT],)),
            one.entry.id[:SHORT],
        )
    return table


def _unlike(points: Sequence[Point]) -> list[str]:
    """What the scorecards differ in, of what their values depend on."""
    names = dict.fromkeys(name for one in points for name in one.entry.measured)
    return [name for name in names if len({one.entry.measured.get(name) for one in points}) > 1]


def _labels(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(one.entry.label for one in points))


def _style(check: str, metric: str) -> Style:
    from gt.resources import fixtures_dir
    from pytest_groundthink.checks import load_checks

    described = load_checks(fixtures_dir() / "checks.yaml").checks.get(check)
    return described.style(metric) if described else Style(label=metric)


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, no_wrap=heading not in ("subject", "95%", "baseline"), overflow="fold")
    return table
