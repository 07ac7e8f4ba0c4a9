"""The `groundthink` command. Subcommands import what they need when they run."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from gt import __version__
from gt.bench.config import BenchConfig
from gt.training.config import TrainConfig
from pytest_groundthink.compare_command import compare as compare_command
from pytest_groundthink.data_command import data
from pytest_groundthink.history_command import history
from pytest_groundthink.presets import lay_under
from pytest_groundthink.proof.config import ProveConfig
from pytest_groundthink.report_command import checks, report
from pytest_groundthink.trace_command import trace

app = App(
    name="groundthink",
    version=__version__,
    help="Decide from measured evidence whether a recurrent or hybrid language model may be scaled up.",
)

app.command(data)
app.command(compare_command)
app.command(history)
app.command(report)
app.command(checks)
app.command(trace)


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


_train = App(name="train", config=lay_under)
app.command(_train)


@_train.default
def train(
    preset: str | None = None,
    *,
    config: Annotated[TrainConfig | None, Parameter(name="*")] = None,
    compare: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")] = (),
    seeds: int = 1,
) -> None:
    """Train a model on text and write a checkpoint folder that `pytest --ckpt` takes.

    The folder holds model.safetensors (bf16), config.json, tokenizer.json, train_log.jsonl, and
    training_state.safetensors, from which --resume goes on exactly. On a GPU the whole step is one CUDA graph.

    Args:
        preset: A YAML file of settings, or the name of one that is carried along: quick, 3.5M, 8M-50k, 30M, 125M,
            canary. What is on the command line goes over it.
        config: Settings.
        compare: Train these models, in place of `model`, on the same batches in turn, and compare them with the first.
        seeds: With compare: train each so often, from `seed` on.
    """
    from rich.console import Console

    from pytest_groundthink.report.training import run_and_report

    console = Console()
    try:
        run_and_report(config or TrainConfig(), compare, seeds, console)
    except (ValueError, OSError, FloatingPointError) as error:
        console.print(f"groundthink train: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(1 if isinstance(error, FloatingPointError) else 4)
    except KeyboardInterrupt as stopped:
        message = str(stopped) or "interrupted; what was saved before is kept"
        console.print(f"groundthink train: {message}", style="yellow", highlight=False, markup=False, soft_wrap=True)
        sys.exit(130)


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


@app.command
def decide(
    *scorecards: Path,
    subject: str | None = None,
    checks: Path | None = None,
    allow_edited: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Decide from scorecards whether a scale may be left behind; exit status 0 GO, 10 CAUTION, 20 HOLD, 4 bad input.

    Args:
        scorecards: Files, or folders of them: the subject's, and those of other scales and runs for its scaling law.
        subject: File or label of the one to decide on; by default the one with the most parameters.
        checks: Checks of your own, as for pytest --gt-checks.
        allow_edited: Take scorecards that were changed after they were written, or that have no hash, and say so.
        as_json: Print JSON, for other programs.
    """
    import msgspec

    from pytest_groundthink.decide_command import BAD_INPUT, EXIT_STATUS, decide_files, told

    try:
        card, decision = decide_files(scorecards, subject, checks, allow_edited)
    except (ValueError, OSError) as error:
        print(f"groundthink decide: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    if as_json:
        found = {"subject": card.subject.label, **msgspec.to_builtins(decision)}
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        print(told(card, decision))
    sys.exit(EXIT_STATUS[decision.outcome])


@app.command
def prove(*, config: Annotated[ProveConfig | None, Parameter(name="*")] = None) -> None:
    """Prove that every check catches the fault it is meant for and leaves healthy models alone: the kill matrix.

    Trains healthy models, plants faults in them and asks every check of all of them. What was measured is kept, also
    after a kill, and taken up by the next call of the same version. The exit status is 1 if a fault survives or a
    healthy model fails.

    Args:
        config: Settings.
    """
    from rich.console import Console

    from pytest_groundthink.report.matrix import prove_and_report

    console = Console()
    try:
        proven = prove_and_report(config or ProveConfig(), console)
    except (ValueError, OSError, FloatingPointError) as error:
        console.print(f"groundthink prove: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(1 if isinstance(error, FloatingPointError) else 4)
    except KeyboardInterrupt:
        console.print("groundthink prove: interrupted; the next call goes on from here", style="yellow")
        sys.exit(130)
    sys.exit(0 if proven else 1)


def main() -> None:
    """Run the command line; what cannot be understood is one line and exit status 4, as in a file of settings."""
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        print(f"groundthink: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(4)
    except BrokenPipeError:
        # Whoever read the output has seen enough, as `head` does. What is still buffered must not be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
