"""Several models on the same batches in the same order, in turn on one machine, each with a log and a checkpoint."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gt import registry
from gt.bench.memory import predict
from gt.checkpoint import write_atomically
from gt.data.shards import Progress
from gt.kernels import BACKENDS, resolve
from gt.models.config import parameter_counts
from gt.registry import ModelSpec
from gt.training import resume
from gt.training.config import TrainConfig
from gt.training.history import read_log
from gt.training.inputs import open_inputs
from gt.training.interrupt import asked_to_stop
from gt.training.loop import LOG, Report, Run, check_run
from gt.training.machine import exact
from gt.training.monitor import Gate, finite

AVERAGED = ("loss", "valid_loss", "seconds", "tokens_per_s", "memory_mib", "rm_ratio", "variance_ratio")
AVERAGED_GATE = ("gate_first", "gate_last")

FAILURE = "failed.json"
"""In the folder of a run whose loss was no longer finite: its row of the record."""


def compare_models(
    models: Sequence[str],
    config: TrainConfig,
    seeds: int = 1,
    report: Report = lambda line: None,
    gates: Sequence[Gate] = (),
    progress: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, Any]:
    """Train models side by side and write `compare.json` into the folder of the settings.

    They take turns of `log_every` steps, so that whatever else the machine does meets all of them alike. A model whose
    loss is no longer finite drops out; the others go on.

    Args:
        models: Names; the first is what the others are compared with. A bare one takes the scale of `config.model`.
        config: Settings of all of them.
        seeds: Runs of each, with `seed`, `seed` + 1, ...
        report: Called with every line of every log, with `model` and `seed` in it.
        gates: Bands to warn by.
        progress: Called after every shard that is built of `data`.

    Returns:
        The record: `settings`, `hashes`, `runs` (one for each model and seed) and `table` (one row for each model).

    Raises:
        ValueError: If a setting, a file or the text does not fit.
        KeyboardInterrupt: At Ctrl-C, when the state of every run has been saved.
    """
    names = [_spec(model, config).name for model in models]
    if len(set(names)) < len(names):
        raise ValueError(f"compare names {', '.join(names)}: expected each model once")
    plans = [
        replace(config, model=name, seed=seed, out=str(Path(config.out) / f"{name}-seed-{seed}"))
        for seed in range(config.seed, config.seed + seeds)
        for name in names
    ]
    # What has failed stays so: of such a run there may be no state to resume.
    rows = {index: row for index, plan in enumerate(plans) if config.resume and (row := _failure(plan))}
    specs = {index: check_run(plan) for index, plan in enumerate(plans) if index not in rows}
    if not specs:
        raise ValueError(f"every run of {config.out} has failed, there is none to resume: start anew with overwrite")
    device = next(iter(specs.values()))[1]
    with exact(config, device), ExitStack() as held_open:
        for folder in (config.out, *(plan.out for plan in plans)):
            held_open.enter_context(resume.held(Path(folder)))
        inputs = open_inputs(config, Path(config.out) / "tokenizer.json", progress)
        stop = held_open.enter_context(asked_to_stop())
        turns: dict[int, _Turns] = {}
        for index, (spec, _) in specs.items():
            plan = plans[index]
            _provide_folder(plan)

            def tell(line: dict[str, Any], plan: TrainConfig = plan) -> None:
                report({"model": plan.model, **({"seed": plan.seed} if seeds > 1 else {}), **line})

            before = _allocated(device, reset=True)
            run = Run(spec, plan, inputs, device, tell, gates)
            held_open.enter_context(run.writing())
            turns[index] = _Turns(run)
            turns[index].measure_memory(before)
        for stop_at in [*range(config.log_every, config.steps, config.log_every), config.steps]:
            for turn in turns.values():
                if not stop:
                    turn.take(partial(turn.run.advance, stop_at, stop))
        for turn in turns.values():
            turn.take(turn.run.save if stop else turn.run.finish)
        rows |= {index: turn.row() for index, turn in turns.items()}
        for index, row in rows.items():
            if row["failed"]:
                _write_json(Path(plans[index].out) / FAILURE, row)
        if stop:
            raise KeyboardInterrupt("stopped: go on with --resume")
    ordered = [rows[index] for index in range(len(plans))]
    record = _record(next(iter(turns.values())).run, names, seeds, config, ordered)
    _write_json(Path(config.out) / "compare.json", record)
    return record


class _Turns:
    """One run among others: what it did, until it fails.

    Args:
        run: The run.

    Attributes:
        failed: Why it dropped out; None while it goes on.
        memory: Its memory in MiB; None where it is not known.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.failed: str | None = None
        self.memory: float | None = None

    def take(self, turn: Callable[[], object]) -> None:
        """Let it do something, unless it has dropped out."""
        if self.failed is not None:
            return
        try:
            turn()
        except FloatingPointError as error:
            self.failed = str(error)

    def measure_memory(self, before: int) -> None:
        """Find out what it needs; on a GPU that takes its first step."""
        run = self.run
        if run.device.type == "cuda":
            if run.step < run.config.steps:
                self.take(partial(run.advance, run.step + 1))
            self.memory = (torch.cuda.max_memory_allocated() - before) / 2**20
            return
        backends = {op: resolve(op, "cpu").backend.name for op in BACKENDS}
        spec_config = run.spec.config(run.inputs.tokenizer.vocab_size)
        predicted = predict(
            spec_config,
            run.config.batch_size,
            run.config.length,
            backends=backends,
            autocast=run.config.dtype != "float32",
            halves=not run.train_step.balanced,
            accumulate=run.config.accumulate,
        )
        self.memory = None if predicted is None else predicted.peak / 2**20

    def row(self) -> dict[str, Any]:
        """What came of it, also before it was resumed: from its log."""
        run = self.run
        total, non_embedding = parameter_counts(run.spec.config(run.inputs.tokenizer.vocab_size))
        row: dict[str, Any] = {
            "model": run.spec.name,
            "seed": run.config.seed,
            "folder": run.out.name,
            "parameters": total,
            "non_embedding": non_embedding,
            "steps": run.step,
            "seconds": run.seconds,
            "tokens_per_s": run.tokens / run.seconds if run.seconds else None,
            "memory_mib": self.memory,
            "valid_loss": None if self.failed else run.valid_loss,
            "failed": self.failed,
        }
        lines = read_log(run.out / LOG)
        if lines:
            last = lines[-1]
            row |= {"loss": last["loss_mean"], "warnings": [warning for line in lines for warning in line["warnings"]]}
            row |= {key: last.get(key) for key in ("rm_ratio", "variance_ratio", "activation_variance", "grad_norm")}
            gates = [statistics.fmean(line["gate_mean"]) for line in lines if None not in line.get("gate_mean", [None])]
            if gates:
                row |= {"gate_first": gates[0], "gate_last": gates[-1]}
        return row


def _failure(plan: TrainConfig) -> dict[str, Any] | None:
    """The row of a run that has failed before, if it has."""
    path = Path(plan.out) / FAILURE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _provide_folder(plan: TrainConfig) -> None:
    """Make the folder of a run that starts anew ready: nothing old in it, and the tokenizer of all."""
    if plan.resume:
        return
    folder = Path(plan.out)
    resume.remove_run(folder)
    (folder / FAILURE).unlink(missing_ok=True)
    tokenizer = (folder.parent / "tokenizer.json").read_bytes()
    write_atomically(folder / "tokenizer.json", lambda path: path.write_bytes(tokenizer))


def _write_json(path: Path, record: dict[str, Any]) -> None:
    text = json.dumps(finite(record), indent=2) + "\n"
    write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def _record(
    run: Run, names: Sequence[str], seeds: int, config: TrainConfig, rows: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """What a comparison writes; `run` is any of it."""
    device = run.device.type
    record: dict[str, Any] = finite(
        {
            "schema": "groundthink.compare/1",
            "settings": run.settings()
            | {"model": names, "seed": config.seed, "seeds": seeds, "out": Path(config.out).name},
            "hashes": run.inputs.hashes,
            "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
            "memory": "peak allocated, first step included" if device == "cuda" else "predicted from the shapes",
            "kernels": {op: resolve(op, device).backend.name for op in BACKENDS},
            "runs": list(rows),
            "table": _table(names, rows),
        }
    )
    return record


def _spec(name: str, config: TrainConfig) -> ModelSpec:
    """The model of a name, at the scale of the settings' own model where the name gives none."""
    if "@" in name or name.strip().upper() in registry.ALIASES:
        return registry.resolve(name)
    return registry.resolve(name, registry.resolve(config.model).scale)


def _allocated(device: torch.device, reset: bool = False) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize()
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def _table(names: Sequence[str], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each model: means over its seeds, and ratios to the first model."""
    table: list[dict[str, Any]] = []
    for name in names:
        own = [row for row in rows if row["model"] == name]
        found: dict[str, Any] = {"model": name, "parameters": own[0]["parameters"], "seeds": len(own)}
        for key in (*AVERAGED, *AVERAGED_GATE):
            values = [row[key] for row in own if row.get(key) is not None]
            found[key] = statistics.fmean(values) if values else None
        losses = [row["valid_loss"] for row in own if row["valid_loss"] is not None]
        found["valid_loss_sd"] = statistics.stdev(losses) if len(losses) > 1 else None
        found["failed"] = "; ".join(row["failed"] for row in own if row["failed"]) or None
        first = table[0] if table else found
        for ratio, key in (("loss_ratio", "valid_loss"), ("time_ratio", "seconds"), ("memory_ratio", "memory_mib")):
            found[ratio] = found[key] / first[key] if found[key] and first[key] else None
        table.append(found)
    return table
