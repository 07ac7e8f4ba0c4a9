"""What `groundthink prove` shows and writes: the matrix in the terminal, and as JSON, Markdown and a picture."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from gt import __version__
from gt.proof import SCALE, folder
from gt.resources import fixtures_dir
from gt.sabotage import SABOTAGES
from pytest_groundthink.checks import CheckBook, load_checks
from pytest_groundthink.proof.cells import Cell, plan
from pytest_groundthink.proof.config import ProveConfig
from pytest_groundthink.proof.matrix import SCHEMA, Matrix, build, known
from pytest_groundthink.proof.run import JOURNAL, kept, run
from pytest_groundthink.verdict import Interval, Status

NAME = "kill_matrix"
MADE = "made.json"
"""Beside the cells that are kept: what they were measured with."""

SIGNS = {Status.PASS: ".", Status.WARN: "w", Status.FAIL: "F", Status.NODATA: "-"}
COLOURS = {Status.PASS: "green", Status.WARN: "yellow", Status.FAIL: "bold red", Status.NODATA: "magenta"}
NAME_WIDTH = 32
"""Columns of the terminal for a subject's name."""

PLAIN_EVERY = 20
"""Cells after which a line is printed where there is no terminal."""


def prove_and_report(config: ProveConfig, console: Console) -> bool:
    """Measure, print and write a kill matrix.

    Args:
        config: Settings.
        console: Where to print.

    Returns:
        True if every fault was caught by the check meant for it, and no healthy subject failed a check.

    Raises:
        ValueError: If a setting does not fit.
        OSError: If a file cannot be written.
        FloatingPointError: If the training of a healthy subject broke off.
    """
    book = load_checks(fixtures_dir() / "checks.yaml")
    config.check(book)
    if config.rewrite:
        found, made = read(config.out)
        _show(known(found, book), book, config.out, console, made)
        return known(found, book).proven
    units = plan(config, book)
    if not units:
        raise ValueError("none of these checks can be asked of a control: leave --checks out, or give others")
    if config.kept_in and not (config.kept_in / JOURNAL).is_file():
        raise ValueError(f"{config.kept_in}: nothing kept: expected {JOURNAL} in it, as groundthink prove leaves it")
    config.out.mkdir(parents=True, exist_ok=True)
    place = config.kept_in or folder(config.steps)
    made = Made.now(book)
    if config.kept or config.kept_in:
        cells = kept(units, place)
        made = _measured_with(place, made)
    else:
        from gt.checkpoint import write_bytes

        place.mkdir(parents=True, exist_ok=True)
        write_bytes(place / MADE, msgspec.json.encode(made))
        console.print(f"kept, cell by cell: {place}", highlight=False, soft_wrap=True)
        with _progress(console, book) as report:
            cells = run(units, config.steps, config.jobs, report)
    chosen = config.checks or tuple(book.checks)
    faults = [name for name in config.faults or SABOTAGES if SABOTAGES[name].caught_by in chosen]
    healthy = list({unit.control.name: unit.control for unit in units}.values())
    matrix = build(cells, faults, healthy, book, config.steps, sum(len(unit.checks) for unit in units))
    _show(matrix, book, config.out, console, made)
    return matrix.proven


def _measured_with(place: Path, now: Made) -> Made:
    """What measured the cells of a folder, where that is kept there, and the thresholds that judge them now.

    Raises:
        ValueError: If what is kept cannot be read: one line.
    """
    path = place / MADE
    if not path.is_file():
        return now
    try:
        made = msgspec.json.decode(path.read_bytes(), type=Made)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path}: expected what cells were measured with, got {error}: delete it") from None
    return msgspec.structs.replace(made, thresholds_sha256=now.thresholds_sha256)


def _show(matrix: Matrix, book: CheckBook, out: Path, console: Console, made: Made | None = None) -> None:
    """Print and write a matrix."""
    for table in (*_grids(matrix, book, console.width), _survivors(matrix)):
        if table.row_count:
            console.print(table)
    console.print(" ".join(summary(matrix)), highlight=False)
    write(matrix, book, out, made)
    console.print(f"written: {out / NAME}.json, .md" + _draw(matrix, book, out), highlight=False)


@contextmanager
def _progress(console: Console, book: CheckBook) -> Iterator[Callable[[int, int, Cell], None]]:
    """A bar with an estimate on a terminal; elsewhere a line now and then."""
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console, transient=True) as bar:
            task = bar.add_task("training the first control", total=None)
            yield lambda done, total, cell: bar.update(task, completed=done, total=total, description=_told(cell))
        return
    begun = time.monotonic()

    def line(done: int, total: int, cell: Cell) -> None:
        if done % PLAIN_EVERY == 0 or done in (1, total):
            left = (time.monotonic() - begun) / done * (total - done)
            console.print(f"{done}/{total} {_told(cell)}, about {left:.0f} s left", highlight=False, soft_wrap=True)

    yield line


def _told(cell: Cell) -> str:
    return f"{cell.control}{f' + {cell.fault}' if cell.fault else ''}: {cell.check}"


def summary(matrix: Matrix) -> list[str]:
    """What came out, in sentences."""
    trained = [row for row in matrix.controls if not row.scripted]
    flagged = [row.control for row in matrix.controls if row.failed]
    caught = sum(row.caught for row in matrix.faults)
    found = [f"{caught} of {len(matrix.faults)} faults are caught by the check meant for them."]
    if matrix.survivors:
        found.append(f"Not caught: {', '.join(matrix.survivors)}.")
    if matrix.pending:
        found.append(f"Not asked yet: {', '.join(matrix.pending)}.")
    found.append(
        f"{len(flagged)} of {len(matrix.controls)} healthy subjects are failed by a check"
        + (f": {', '.join(f'{cell.control} by {cell.check}' for cell in matrix.alarms)}." if flagged else ".")
    )
    if matrix.alarm_bound is not None:
        found.append(
            f"With {len(trained)} trained ones the rate of false alarms is below {matrix.alarm_bound:.1%} (95%)."
        )
    if len(matrix.cells) < matrix.planned:
        found.append(f"{matrix.planned - len(matrix.cells)} of {matrix.planned} cells are missing.")
    return found


def _columns(matrix: Matrix, book: CheckBook) -> list[str]:
    asked = {cell.check for cell in matrix.cells}
    return [id_ for id_ in book.checks if id_ in asked]


def _rows(matrix: Matrix) -> list[tuple[str, dict[str, Status]]]:
    """Name and verdicts by check: healthy subjects, then faults."""
    rows: dict[str, dict[str, Status]] = {}
    for fault in ("", *(row.fault for row in matrix.faults)):
        for cell in matrix.cells:
            if cell.fault == fault:
                rows.setdefault(f"+ {fault}" if fault else cell.control, {})[cell.check] = cell.status
    return list(rows.items())


def _grids(matrix: Matrix, book: CheckBook, width: int) -> Iterator[Table]:
    """The matrix, in parts that are as wide as the terminal."""
    meant = {f"+ {row.fault}": row.meant for row in matrix.faults}
    rows = _rows(matrix)
    part: list[str] = []
    for id_ in [*_columns(matrix, book), None]:
        if id_ is not None and (not part or sum(len(one) + 1 for one in (*part, id_)) <= width - NAME_WIDTH):
            part.append(id_)
            continue
        table = Table(title="F: FAIL, w: WARN, .: PASS, -: no data; [ ]: meant to FAIL", box=None, padding=(0, 1, 0, 0))
        table.add_column("healthy, then + fault", width=NAME_WIDTH - 1, no_wrap=True, overflow="ellipsis")
        for column in part:
            table.add_column(column, justify="center", no_wrap=True)
        for name, statuses in rows:
            if statuses.keys() & set(part):
                table.add_row(name, *(_sign(statuses.get(one), meant.get(name) == one) for one in part))
        yield table
        part = [id_] if id_ is not None else []


def _sign(status: Status | None, meant: bool) -> str:
    if status is None:
        return ""
    sign = f"[{COLOURS[status]}]{SIGNS[status]}[/]"
    return rf"\[{sign}]" if meant else sign


def _survivors(matrix: Matrix) -> Table:
    table = Table(title="not as it should be", box=None, padding=(0, 2, 0, 0))
    for heading in ("subject", "check", "verdict", "reason"):
        table.add_column(heading, overflow="fold")
    for row in matrix.faults:
        if row.asked and not row.caught:
            table.add_row(f"+ {row.fault}", row.meant, row.status, row.reason)
    for cell in matrix.alarms:
        table.add_row(cell.control, cell.check, cell.status, cell.reason)
    return table


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What a matrix was made with: versions, and the hash of the thresholds that judged."""

    version: str
    python: str
    thresholds_sha256: str

    @classmethod
    def now(cls, book: CheckBook) -> Made:
        """With what is there now."""
        return cls(version=__version__, python=platform.python_version(), thresholds_sha256=book.sha256)


def read(out: Path) -> tuple[Matrix, Made]:
    """The matrix of a folder, and what it was made with.

    Raises:
        ValueError: If there is none: one line.
    """
    path = out / f"{NAME}.json"
    try:
        content = path.read_bytes()
        if msgspec.json.decode(content, type=dict[str, Any]).get("schema") != SCHEMA:
            raise ValueError(f"{path}: expected a matrix with schema {SCHEMA}: make it with groundthink prove")
        return msgspec.json.decode(content, type=Matrix), msgspec.json.decode(content, type=Made)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}; make it with groundthink prove") from None
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path}: expected a matrix with schema {SCHEMA}, got {error}") from None


def write(matrix: Matrix, book: CheckBook, out: Path, made: Made | None = None) -> None:
    """Write kill_matrix.json and kill_matrix.md; `made` is what the matrix was made with if not with what is there."""
    from gt.checkpoint import write_bytes

    made = made or Made.now(book)
    content: dict[str, Any] = {
        "schema": SCHEMA,
        **msgspec.to_builtins(made),
        "proven": matrix.proven,
        **msgspec.to_builtins(matrix),
    }
    write_bytes(out / f"{NAME}.json", msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
    write_bytes(out / f"{NAME}.md", markdown(matrix, book, made).encode())


def lacking(matrix: Matrix, book: CheckBook) -> str:
    """One sentence on the faults and checks that there are and that the matrix does not have; empty if it has all."""
    faults = SABOTAGES.keys() - {row.fault for row in matrix.faults if row.asked}
    checks = book.checks.keys() - {cell.check for cell in matrix.cells}
    parts = [
        f"{len(names)} of {len(every)} {what} ({', '.join(name for name in every if name in names)})"
        for what, names, every in (("faults", faults, SABOTAGES), ("checks", checks, book.checks))
        if names
    ]
    return f"Not in it are {' and '.join(parts)}." if parts else ""


def markdown(matrix: Matrix, book: CheckBook, made: Made | None = None) -> str:
    """The matrix as text; `made` as for `write`."""
    made = made or Made.now(book)
    trained, scripted = ([row for row in matrix.controls if row.scripted is of] for of in (False, True))
    lengths = sorted({row.steps for row in trained})
    parts = [
        "# Kill matrix",
        "\n".join(filter(None, (*summary(matrix), lacking(matrix, book)))),
        f"{len(matrix.cells):,} cells. Healthy: {len(trained)} models at {SCALE}, trained for "
        f"{' or '.join(map(str, lengths)) or 'no'} steps, and {len(scripted)} scripted subjects (`gt.scripted`), on "
        "which the checks of ability (canaries, synthetic tasks, needles, long range) are proven: no model passes them "
        "that was trained so shortly. Faults are planted in the first that their check is asked of. "
        f"Made by `groundthink prove` {made.version}; thresholds: profile `default`, {made.thresholds_sha256[:12]}.",
        "## Faults",
        _table(
            ("fault", "what is broken", "planted in", "meant for", "verdict", "also fails", "reason"),
            [
                (row.fault, row.summary, row.planted_in, row.meant, row.status, ", ".join(row.also), row.reason)
                for row in matrix.faults
            ],
        ),
        "## Healthy subjects",
        _table(
            ("subject", "checks", "FAIL", "WARN", "no data"),
            [
                (row.control, row.asked, ", ".join(row.failed), ", ".join(row.warned), ", ".join(row.unmeasured))
                for row in matrix.controls
            ],
        ),
        "## What separates healthy from broken",
        "A metric fails outside of what is accepted. The factor is that between the healthy and the broken value that "
        "lie nearest to each other, where both are positive.",
        _table(
            ("check", "metric", "accepted", "healthy, lowest to highest", "n", "broken", "factor"),
            [
                (
                    one.check,
                    one.label,
                    " or ".join(map(_interval, one.accepted)),
                    f"{one.healthy[0]:.4g} to {one.healthy[1]:.4g}",
                    one.n,
                    ", ".join(f"{fault} {_number(value)}" for fault, value in one.broken.items()),
                    "" if one.factor is None else f"{one.factor:,.3g}",
                )
                for one in matrix.separations
            ],
        ),
        "## Every cell",
        "F: FAIL, w: WARN, .: PASS, -: no data, in bold where the check is meant for the fault.",
        _every_cell(matrix, book),
    ]
    return "\n\n".join(parts) + "\n"


def _every_cell(matrix: Matrix, book: CheckBook) -> str:
    columns = _columns(matrix, book)
    meant = {f"+ {row.fault}": row.meant for row in matrix.faults}
    rows = []
    for name, statuses in _rows(matrix):
        signs = [SIGNS[statuses[id_]] if id_ in statuses else "" for id_ in columns]
        marked = [f"**{sign}**" if meant.get(name) == id_ else sign for id_, sign in zip(columns, signs, strict=True)]
        rows.append((name, *marked))
    return _table(("subject", *columns), rows)


def _table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"


def _interval(ends: Interval) -> str:
    low, high = ends
    if low is None or high is None:
        return "any" if low == high else f">= {low:g}" if low is not None else f"<= {high:g}"
    return f"{low:g} to {high:g}"


def _draw(matrix: Matrix, book: CheckBook, out: Path) -> str:
    """Write kill_matrix.png if matplotlib is there and there is something to draw; says what was written."""
    if not matrix.cells:
        return ""
    try:
        import matplotlib
    except ImportError:
        return "; no picture: pip install pytest-groundthink[report]"
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch, Rectangle

    columns, rows = _columns(matrix, book), _rows(matrix)
    order = {Status.NODATA: 1, Status.PASS: 2, Status.WARN: 3, Status.FAIL: 4}
    shades = ("#ffffff", "#c9c3d6", "#d5e8d4", "#f6d98b", "#b5413b")
    values = [[order[statuses[id_]] if id_ in statuses else 0 for id_ in columns] for _, statuses in rows]
    figure, axes = pyplot.subplots(figsize=(3 + 0.28 * len(columns), 1.2 + 0.19 * len(rows)), layout="constrained")
    axes.imshow(values, cmap=ListedColormap(shades), vmin=-0.5, vmax=4.5, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=7)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=6.5)
    axes.xaxis.tick_top()
    meant = {f"+ {row.fault}": row.meant for row in matrix.faults}
    for place, (name, _) in enumerate(rows):
        if meant.get(name) in columns:
            corner = (columns.index(meant[name]) - 0.5, place - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="black", linewidth=1.2))
    axes.axhline(sum(not name.startswith("+") for name, _ in rows) - 0.5, color="black", linewidth=0.8)
    handles = [Patch(facecolor=shades[order[status]], label=str(status)) for status in SIGNS]
    handles.append(Patch(facecolor="none", edgecolor="black", label="meant to FAIL"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    figure.savefig(out / f"{NAME}.png", dpi=130)
    pyplot.close(figure)
    return ", .png"
