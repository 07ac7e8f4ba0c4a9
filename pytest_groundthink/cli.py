"""The `groundthink` command. Subcommands import what they need when they run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from gt import __version__
from gt.bench.config import BenchConfig
from gt.training.config import TrainConfig
from pytest_groundthink.data_command import data

app = App(
    name="groundthink",
    version=__version__,
    help="Decide from measured evidence whether a recurrent or hybrid language model may be scaled up.",
)

app.command(data)


@app.command
def models(
    *,
    scale: str | None = None,
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """List the models that can be named: parameters, state of a sequence, FLOPs for a token, and all scales.

    Args:
        scale: Scale to list; 3.5M by default.
        every: List every scale.
        as_json: Print JSON, for other programs.
    """
    from pytest_groundthink.listing import list_models, print_models, print_names

    try:
        found = list_models(scale, every)
    except ValueError as error:
        print(f"groundthink models: {error}", file=sys.stderr)
        sys.exit(4)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print_models(found)
    print_names()


@app.command
def train(config: Annotated[TrainConfig | None, Parameter(name="*")] = None) -> None:
    """Train a model on text and write a checkpoint folder that `pytest --ckpt` takes.

    The folder holds model.safetensors (bf16), config.json, tokenizer.json and train_log.jsonl. On a GPU the whole
    step is one CUDA graph.
    """
    from rich.console import Console
    from rich.live import Live

    from gt.training.loop import train as run

    config = config or TrainConfig()
    console = Console()
    try:
        with Live(console=console, refresh_per_second=4) as live:
            out = run(config, lambda line: live.update(_progress(line, config)))
    except (ValueError, OSError, FloatingPointError) as error:
        console.print(f"groundthink train: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(1 if isinstance(error, FloatingPointError) else 4)
    if not console.is_terminal:
        console.line()  # elsewhere the last line of progress ends without one
    again = f"pytest -m graduation --model {config.model} --ckpt {Path(out)} --scorecard out.json"
    console.print(f"checkpoint: {out}\njudge it:   {again}", highlight=False, markup=False, soft_wrap=True)


def _progress(line: dict[str, Any], config: TrainConfig) -> str:
    parts = [
        f"step {line['step']:,}/{config.steps:,}",
        f"loss {line['loss']:.3f}",
        f"gradient norm {line['grad_norm']:.2f}",
        f"lr {line['lr']:.1e}",
        f"{line['tokens_per_s']:,} tokens/s",
    ]
    if "valid_loss" in line:
        parts.append(f"validation loss {line['valid_loss']:.3f}")
    return "  ".join(parts)


@app.command
def bench(
    *models: str, config: Annotated[BenchConfig | None, Parameter(name="*")] = None, json: Path | None = None
) -> None:
    """Measure training, forward and decoding speed, memory and early stability of models on this machine.

    Args:
        models: Models to measure, `VARIANT[@SCALE]`; the others are compared with the first. GF-MH if none is given.
        config: Settings.
        json: Write the record here as well.
    """
    from rich.console import Console

    from pytest_groundthink.report.bench import run_and_report

    console = Console()
    try:
        passed = run_and_report(models or ("GF-MH",), config or BenchConfig(), json, console)
    except (ValueError, OSError) as error:
        console.print(f"groundthink bench: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(4)
    sys.exit(0 if passed else 1)


def main() -> None:
    """Run the command line."""
    app()
