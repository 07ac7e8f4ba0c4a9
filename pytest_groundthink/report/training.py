"""What `groundthink train` shows: a live table of the run, warnings with their step, and the table of a comparison."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gt.resources import fixtures_dir
from gt.training.config import TrainConfig
from pytest_groundthink.checks import load_checks

if TYPE_CHECKING:
    from gt.data.shards import Progress
    from gt.training.monitor import Gate

WATCHED = {"grad_norm": ("G3", "grad_norm"), "rm_ratio": ("G4", "grad_ratio")}
"""Value of the log: check and metric whose PASS band it is watched with."""

SHOWN_WARNINGS = 5
SECONDS_BETWEEN = 5.0
WIDEST = 300
"""Characters of a line of a comparison, at most."""

Show = Callable[[dict[str, Any]], None]


def run_and_report(config: TrainConfig, compare: tuple[str, ...], seeds: int, console: Console) -> None:
    """Train, show how it goes and what came of it.

    Args:
        config: Settings.
        compare: Models to train in place of the one of the settings; none for that one.
        seeds: Runs of each model of a comparison.
        console: Where to print.

    Raises:
        ValueError: If a setting, a file or the text does not fit.
        FloatingPointError: If the loss is no longer finite.
        KeyboardInterrupt: At Ctrl-C, when the run has been saved.
    """
    if seeds < 1 or (seeds > 1 and not compare):
        raise ValueError(f"seeds is {seeds}: expected 1, or more together with compare")
    gates = watched_gates()
    with _live(console, config.steps) as show:
        if compare:
            from gt.training.compare import compare_models

            record = compare_models(compare, config, seeds, show, gates, _tokenised(console))
        else:
            from gt.training.loop import train

            out = train(config, show, gates, _tokenised(console))
    if compare:
        for table in comparison_tables(record["table"]):
            # Figures cut short are worth nothing: a narrow terminal breaks the lines instead.
            narrow = console.width
            console.width = max(narrow, console.measure(table, options=console.options.update(width=WIDEST)).maximum)
            console.print(table)
            console.width = narrow
        written = Path(config.out) / "compare.json"
        console.print(f"record: {written}", highlight=False, markup=False, soft_wrap=True)
        return
    again = f"pytest -m graduation --model {config.model} --ckpt {out} --scorecard out.json"
    console.print(f"checkpoint: {out}\njudge it:   {again}", highlight=False, markup=False, soft_wrap=True)


def _tokenised(console: Console) -> Callable[[Progress], None]:
    """Says now and then how far the shards of `data` are: of much text they take minutes."""
    last = -math.inf

    def tell(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last < SECONDS_BETWEEN:
            return
        last = time.monotonic()
        share = f"{progress.done / progress.total:.0%}, " if progress.total else ""
        line = f"tokenising {progress.source}: {share}{progress.tokens:,} tokens"
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    return tell


def watched_gates() -> tuple[Gate, ...]:
    """Bands of the shipped checks that a run is watched with."""
    from gt.training.monitor import Gate

    checks = load_checks(fixtures_dir() / "checks.yaml").checks
    return tuple(
        Gate(check=check, value=value, passes=checks[check].bands["default"].bands[metric].passes)
        for value, (check, metric) in WATCHED.items()
    )


@contextmanager
def _live(console: Console, steps: int) -> Iterator[Show]:
    """A table that is renewed on a terminal; elsewhere a line of text for each line of the log."""
    if not console.is_terminal:
        yield lambda line: console.print(one_line(line, steps), highlight=False, markup=False, soft_wrap=True)
        return
    latest: dict[str, dict[str, Any]] = {}
    warnings: list[str] = []
    with Live(console=console, refresh_per_second=4) as live:

        def show(line: dict[str, Any]) -> None:
            name = _name(line)
            # Validation comes now and then: the last one stays.
            latest[name] = {**{k: v for k, v in latest.get(name, {}).items() if k.startswith("valid")}, **line}
            warnings.extend(" ".join(filter(None, (name, warning))) for warning in line.get("warnings", ()))
            shown = [Text(warning, style="yellow") for warning in warnings[-SHOWN_WARNINGS:]]
            live.update(Group(live_table(latest, steps), *shown))

        yield show


def _name(line: Mapping[str, Any]) -> str:
    return " ".join(str(line[key]) for key in ("model", "seed") if key in line)


def live_table(latest: Mapping[str, Mapping[str, Any]], steps: int) -> Table:
    """The last line of each run."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    headings = ("step", "loss", "validation", "perplexity", "gradient norm", "lr", "R/M", "variance R/M", "gate")
    for heading in ("", *headings, "tokens/s", "left", "MiB"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, line in latest.items():
        done = line["step"]
        left = line["seconds"] * (steps - done) / done
        gate = line.get("gate_mean")
        table.add_row(
            name,
            f"{done:,}/{steps:,}",
            number(line["loss"], ".3f"),
            number(line.get("valid_loss"), ".3f"),
            number(line.get("valid_perplexity") or line.get("perplexity"), ".4g"),
            number(line["grad_norm"], ".2f"),
            number(line["lr"], ".1e"),
            number(line.get("rm_ratio"), ".2f"),
            number(line.get("variance_ratio"), ".3g"),
            number(sum(gate) / len(gate) if gate and None not in gate else None, ".2f"),
            f"{line['tokens_per_s']:,}",
            f"{int(left) // 60}:{int(left) % 60:02d}",
            number(line.get("memory_mib"), ",.0f"),
        )
    return table


def one_line(line: Mapping[str, Any], steps: int) -> str:
    """A line of the log in words, its warnings below."""
    parts = [
        _name(line),
        f"step {line['step']:,}/{steps:,}",
        f"loss {number(line['loss'], '.3f')}",
        f"gradient norm {number(line['grad_norm'], '.2f')}",
        f"lr {line['lr']:.1e}",
        f"{line['tokens_per_s']:,} tokens/s",
    ]
    if "rm_ratio" in line:
        parts.append(f"R/M {number(line['rm_ratio'], '.2f')}")
    if "valid_loss" in line:
        parts.append(f"validation loss {number(line['valid_loss'], '.3f')}")
    if "valid_loss_averaged" in line:
        parts.append(f"of the mean weights {number(line['valid_loss_averaged'], '.3f')}")
    return "\n".join(["  ".join(filter(None, parts)), *(f"  {warning}" for warning in line.get("warnings", ()))])


OUTCOME = {
    "model": ("model", "s"),
    "parameters": ("parameters", ",d"),
    "loss": ("loss", ".3f"),
    "valid_loss": ("validation", ".3f"),
    "valid_loss_sd": ("sd", ".3f"),
    "loss_ratio": ("ratio", ".3f"),
    "seconds": ("time, s", ",.1f"),
    "time_ratio": ("ratio", ".2f"),
    "tokens_per_s": ("tokens/s", ",.0f"),
    "memory_mib": ("MiB", ",.0f"),
    "memory_ratio": ("ratio", ".2f"),
}
"""Columns of a comparison by the key of its rows: heading and format. Each ratio is to the first model."""

BALANCE = {
    "model": ("model", "s"),
    "rm_ratio": ("gradients R/M", ".2f"),
    "variance_ratio": ("variance R/M", ".3g"),
    "gate_first": ("gate at first", ".2f"),
    "gate_last": ("at last", ".2f"),
}
"""Columns of the second table: what the two components of a hybrid do, at the last line of the log."""


def comparison_tables(rows: list[dict[str, Any]]) -> list[Table]:
    """The table of the documents' comparison (fusion document, observation 17), and that of the components."""
    outcome = _table(OUTCOME, rows)
    failed = [f"{row['model']}: {row['failed']}" for row in rows if row.get("failed")]
    outcome.caption, outcome.caption_justify = "\n".join(failed) or None, "left"
    two = [row for row in rows if row.get("rm_ratio") is not None]
    return [outcome, _table(BALANCE, two)] if two else [outcome]


def _table(columns: Mapping[str, tuple[str, str]], rows: list[dict[str, Any]]) -> Table:
    """A row for each model; columns that would be empty are left out."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    shown = [key for key in columns if any(row.get(key) is not None for row in rows)]
    for key in shown:
        table.add_column(columns[key][0], justify="left" if key == "model" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(number(row.get(key), columns[key][1]) for key in shown))
    return table


def number(value: Any, form: str) -> str:
    """A value as it is shown; a dash for what there is none of."""
    return "-" if value is None else format(value, form)
