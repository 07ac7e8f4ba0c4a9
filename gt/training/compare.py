"""Several models on the same batches in the same order, in turn on one machine, each with a log and a checkpoint."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
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
from gt.training.inputs import Inputs, open_inputs
from gt.training.interrupt import asked_to_stop
from gt.training.loop import Report, Run, check_run, exact, held
from gt.training.monitor import Gate, finite

AVERAGED = ("loss", "valid_loss", "seconds", "tokens_per_s", "memory_mib", "rm_ratio", "variance_ratio")
AVERAGED_GATE = ("gate_first", "gate_last")


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
    out = Path(config.out)
    plans = [
        replace(config, model=name, seed=seed, out=str(out / f"{name}-seed-{seed}"))
        for seed in range(config.seed, config.seed + seeds)
        for name in names
    ]
    specs = [check_run(plan) for plan in plans]
    device = specs[0][1]
    runs: list[Run] = []
    failed: dict[int, str] = {}
    memory: list[float | None] = []
    with exact(config, device), ExitStack() as logs:
        for folder in (config.out, *(plan.out for plan in plans)):
            logs.enter_context(held(Path(folder)))
        by_seed = _inputs(config, seeds, progress)
        stop = logs.enter_context(asked_to_stop())
        tokenizer = (out / "tokenizer.json").read_bytes()
        for plan, (spec, _) in zip(plans, specs, strict=True):
            if not plan.resume:
                resume.remove_run(Path(plan.out))
                write_atomically(Path(plan.out) / "tokenizer.json", lambda partial: partial.write_bytes(tokenizer))

            def tell(line: dict[str, Any], plan: TrainConfig = plan) -> None:
                report({"model": plan.model, **({"seed": plan.seed} if seeds > 1 else {}), **line})

            before = _allocated(device, reset=True)
            run = Run(spec, plan, by_seed[plan.seed], device, tell, gates)
            logs.enter_context(run.writing())
            runs.append(run)
            memory.append(_own_memory(run, before))
        block = config.log_every
        for stop_at in [*range(block, config.steps, block), config.steps]:
            for index, run in enumerate(runs):
                if index in failed or stop:
                    continue
                try:
                    run.advance(stop_at, stop)
                except FloatingPointError as error:
                    failed[index] = str(error)
        if stop:
            for index, run in enumerate(runs):
                if index not in failed:
                    run.save()
            raise KeyboardInterrupt("stopped: go on with --resume")
        for index, run in enumerate(runs):
            if index not in failed:
                run.finish()
    rows = [_row(run, memory[index], failed.get(index)) for index, run in enumerate(runs)]
    table = _table(names, rows)
    record = finite(
        {
            "schema": "groundthink.compare/1",
            "settings": runs[0].settings() | {"model": names, "seeds": seeds, "out": out.name},
            "hashes": runs[0].inputs.hashes,
            "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
            "memory": "peak allocated, first step included" if device.type == "cuda" else "predicted from the shapes",
            "kernels": {op: resolve(op, device.type).backend.name for op in BACKENDS},
            "runs": rows,
            "table": table,
        }
    )
    text = json.dumps(record, indent=2) + "\n"
    write_atomically(out / "compare.json", lambda partial: partial.write_text(text, encoding="utf-8"))
    return dict(record)


def _spec(name: str, config: TrainConfig) -> ModelSpec:
    """The model of a name, at the scale of the settings' own model where the name gives none."""
    if "@" in name or name.strip().upper() in registry.ALIASES:
        return registry.resolve(name)
    return registry.resolve(name, registry.resolve(config.model).scale)


def _inputs(config: TrainConfig, seeds: int, progress: Callable[[Progress], None]) -> dict[int, Inputs]:
    """What the runs of each seed read: the same text in another order, by one tokenizer."""
    tokenizer = Path(config.out) / "tokenizer.json"
    found = {config.seed: open_inputs(config, tokenizer, progress)}
    for seed in range(config.seed + 1, config.seed + seeds):
        found[seed] = open_inputs(replace(config, seed=seed, tokenizer=str(tokenizer)), tokenizer)
    return found


def _allocated(device: torch.device, reset: bool = False) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize()
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def _own_memory(run: Run, before: int) -> float | None:
    """Memory of one run among others in MiB, after its first step; None where it is not known."""
    config = run.config
    if run.device.type == "cuda":
        if run.step < config.steps:
            run.advance(run.step + 1)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    backends = {op: resolve(op, "cpu").backend.name for op in BACKENDS}
    spec_config = run.spec.config(run.inputs.tokenizer.vocab_size)
    predicted = predict(spec_config, config.batch_size, config.length, backends=backends)
    return None if predicted is None else predicted.peak / 2**20


def _row(run: Run, memory: float | None, failed: str | None) -> dict[str, Any]:
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
        "memory_mib": memory,
        "valid_loss": None if failed else run.valid_loss,
        "failed": failed,
    }
    lines = run.lines
    if lines:
        last = lines[-1]
        row |= {"loss": last["loss_mean"], "warnings": [warning for line in lines for warning in line["warnings"]]}
        row |= {key: last.get(key) for key in ("rm_ratio", "variance_ratio", "activation_variance", "grad_norm")}
        gates = [statistics.fmean(line["gate_mean"]) for line in lines if None not in line.get("gate_mean", [None])]
        if gates:
            row |= {"gate_first": gates[0], "gate_last": gates[-1]}
    return row


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
