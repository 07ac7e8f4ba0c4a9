"""What `groundthink bench` shows and writes: tables in the terminal, and JSON."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from gt.bench.config import BenchConfig
from gt.bench.record import BenchRecord, Cell, Quartiles, Ratio
from gt.resources import fixtures_dir
from pytest_groundthink.benchmarks import BenchVerdict, judge, load_benchmarks
from pytest_groundthink.verdict import Status

_COLOURS = {Status.PASS: "green", Status.WARN: "yellow", Status.FAIL: "bold red", Status.NODATA: "magenta"}
_MIB = 2**20


def run_and_report(models: tuple[str, ...], config: BenchConfig, json: Path | None, console: Console) -> bool:
    """Run the benchmarks, print what was found and write it.

    Args:
        models: Names of the models.
        config: Settings.
        json: Where the record goes as JSON, with the verdicts, the command line and the commit; None for nowhere.
        console: Where to print.

    Returns:
        True unless a benchmark failed.

    Raises:
        ValueError: If a name, a setting or the file does not fit.
        OSError: If the file cannot be written.
    """
    config.check()
    benchmarks = load_benchmarks(fixtures_dir() / "bench.yaml")
    if json is not None and not (json.parent.is_dir() and not json.is_dir() and os.access(json.parent, os.W_OK)):
        raise ValueError(f"--json {json}: expected a file in a folder that exists and can be written to")
    from gt.bench.run import bench  # loads torch

    with _progress(console) as progress:
        record = bench(models, config, progress)
    console.print(_machine(record), highlight=False, soft_wrap=True)
    verdicts = judge(record, benchmarks)
    for table in tables(record, verdicts):
        console.print(table)
    if record.environment["note"]:
        console.print(record.environment["note"], style="yellow", highlight=False, soft_wrap=True)
    if json is not None:
        _write(record, verdicts, json)
        console.print(f"record: {json}", highlight=False, soft_wrap=True)
    return all(verdict.status is not Status.FAIL for verdict in verdicts)


def tables(record: BenchRecord, verdicts: list[BenchVerdict]) -> list[Table]:
    """The tables of a run; those without rows are left out."""
    found = [_cells(record), _decoding(record), _ratios(record), *_parts(record), _verdicts(verdicts)]
    return [table for table in found if table.row_count]


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on a terminal; elsewhere a line for each step."""
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
        with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
            task = bar.add_task("loading", total=None)
            yield lambda done, total, note: bar.update(task, completed=done, total=total, description=note)
        return
    shown: set[int] = set()

    def line(done: int, total: int, note: str) -> None:
        if done not in shown:
            console.print(f"{done}/{total} {note}", highlight=False, soft_wrap=True)
        shown.add(done)

    yield line


def _machine(record: BenchRecord) -> str:
    """One line: where this was measured, and by which kernels."""
    environment = record.environment
    where = environment["gpu"] or f"{environment['cpu']}, {environment['threads']} threads"
    kernels = ", ".join(f"{op} {found['backend']}" for op, found in record.models[0]["kernels"].items())
    return f"{where}; torch {environment['torch']}; {record.settings['dtype']}; kernels: {kernels}"


def _table(title: str, *headings: str, text: int = 1) -> Table:
    """A table whose first columns are text and whose others are numbers."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="bold")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < text else "right", overflow="fold")
    return table


def _cells(record: BenchRecord) -> Table:
    table = _table(
        "B1 throughput (tokens/s: median, quartiles) and B2 memory (peak MiB)",
        *("model", "batch", "length", "training", "forward", "predicted", "measured", "measured / predicted"),
    )
    for cell in record.cells:
        table.add_row(cell.model, str(cell.batch), str(cell.length), *_speeds(cell), *_memory(cell))
    return table


def _speeds(cell: Cell) -> tuple[str, str]:
    return (cell.reason or _rate(cell.training), "" if cell.reason else _rate(cell.forward))


def _memory(cell: Cell) -> tuple[str, str, str]:
    memory = cell.memory
    if memory is None:
        return "", "", ""
    predicted = memory.predicted.peak if memory.predicted else None
    ratio = f"{memory.measured / predicted:.2f}" if memory.measured and predicted else ""
    # Where the same reason stands in the column of the speeds, once is enough.
    reason = memory.reason if memory.reason != cell.reason else "-"
    return (
        "no formula" if predicted is None else f"{predicted / _MIB:,.1f}",
        reason if memory.measured is None else f"{memory.measured / _MIB:,.1f}",
        ratio,
    )


def _rate(speed: Quartiles | None) -> str:
    return "" if speed is None else f"{speed.median:,.0f} ({speed.q1:,.0f}-{speed.q3:,.0f})"


def _decoding(record: BenchRecord) -> Table:
    table = _table("B1 decoding, one token a call (tokens/s of all sequences)", "model", "batch", "decoding")
    for one in record.decoding:
        table.add_row(one.model, str(one.batch), one.reason or _rate(one.speed))
    return table


def _ratios(record: BenchRecord) -> Table:
    against = record.ratios[0].against if record.ratios else ""
    table = _table(f"speed relative to {against}", "model", "what", "batch", "length", "ratio", text=2)
    for one in record.ratios:
        table.add_row(one.model, one.what, str(one.batch), str(one.length), _ratio(one))
    return table


def _ratio(one: Ratio) -> str:
    return f"{one.ratio.median:.2f} ({one.ratio.q1:.2f}-{one.ratio.q3:.2f})"


def _parts(record: BenchRecord) -> list[Table]:
    """A table for each batch size and length: parts as rows, models as columns."""
    tables = []
    for place in dict.fromkeys((cell.batch, cell.length) for cell in record.cells if cell.parts):
        cells = [cell for cell in record.cells if (cell.batch, cell.length) == place]
        title = f"training step by part, forward and backward, at batch {place[0]}, length {place[1]}: share (ms)"
        table = _table(title, "part", *(cell.model for cell in cells))
        times = [{part.name: f"{part.share:.1%} ({part.ms:.2f})" for part in cell.parts} for cell in cells]
        for name in dict.fromkeys(name for shown in times for name in shown):
            table.add_row(name, *(shown.get(name, "") for shown in times))
        tables.append(table)
    return tables


def _verdicts(verdicts: list[BenchVerdict]) -> Table:
    table = _table("verdicts", "model", "benchmark", "value", "verdict", "reason", "threshold", text=6)
    for one in verdicts:
        status = f"[{_COLOURS[one.status]}]{one.status}[/]"
        table.add_row(one.model, one.benchmark, one.value, status, one.reason, one.source)
    return table


def _write(record: BenchRecord, verdicts: list[BenchVerdict], path: Path) -> None:
    from pytest_groundthink.provenance import git

    commit = git(Path(__file__).resolve().parents[2])
    content: dict[str, Any] = {
        **msgspec.to_builtins(record),
        "verdicts": msgspec.to_builtins(verdicts),
        "command": shlex.join(["groundthink", *sys.argv[1:]]),
        "git": msgspec.to_builtins(commit),
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
