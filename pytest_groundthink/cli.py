"""The `groundthink` command. Subcommands import what they need when they run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from gt import __version__
from gt.bench.config import BenchConfig
from gt.training.config import TrainConfig

app = App(
    name="groundthink",
    version=__version__,
    help="Decide from measured evidence whether a recurrent or hybrid language model may be scaled up.",
)


@app.command
def models() -> None:
    """List the models that can be named, at every scale, with their parameters and state size."""
    from math import prod

    from rich.console import Console
    from rich.table import Table

    from gt import registry
    from gt.models.config import parameter_counts, state_shapes

    table = Table(title=f"models, at a vocabulary of {registry.DEFAULT_VOCAB_SIZE:,}")
    for heading in ("model", "what it is", "parameters", "non-embedding", "state per sequence"):
        table.add_column(heading, justify="left" if heading in ("model", "what it is") else "right", no_wrap=True)
    for variant in registry.VARIANTS.values():
        for scale in dict.fromkeys(registry.scale_names().values()):
            spec = registry.resolve(f"{variant.name}@{scale}")
            config = spec.config()
            total, non_embedding = parameter_counts(config)
            numbers = sum(prod(shape) for shape in state_shapes(config).values())
            table.add_row(spec.name, variant.summary, f"{total:,}", f"{non_embedding:,}", f"{numbers:,} numbers")
    Console().print(table)


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
        console.print(f"groundthink train: {error}", style="red", highlight=False)
        sys.exit(1 if isinstance(error, FloatingPointError) else 4)
    console.print(f"checkpoint: {out}")
    console.print(f"judge it:   pytest -m graduation --model {config.model} --ckpt {Path(out)} --scorecard out.json")


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
