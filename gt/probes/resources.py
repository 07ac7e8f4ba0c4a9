"""R1: memory and step time of the next scale, predicted from this one and then measured."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from gt import registry
from gt.bench.memory import available_memory, predict, too_large
from gt.bench.peak import PeakError, PeakRequest, measure
from gt.cache import remembered
from gt.kernels import BACKENDS, resolve
from gt.measurement import Measurement, Unmeasurable, measured
from gt.models.config import ModelConfig, flops_per_token, parameter_counts
from gt.registry import ModelSpec
from gt.training.mini import BATCH_SIZE, CLIP, LENGTH, LR
from gt.training.optim import captured_step, make_optimizer, train_step

if TYPE_CHECKING:
    from gt.subject import Subject

MIB = 2**20
LEAST_REPEATS, MOST_REPEATS = 3, 8
BUDGET_S = 8.0
RESAMPLES = 200

Array = npt.NDArray[np.float64]


class Cell(msgspec.Struct, frozen=True):
    """A model and a number of sequences whose training step is timed."""

    config: ModelConfig
    batch: int

    @property
    def costs(self) -> list[float]:
        """What the time of a step is made of, a term for each coefficient that is fitted.

        The step itself, operations of each layer, numbers that go through memory for each token, arithmetic, and
        parameters to update.
        """
        config, tokens = self.config, self.batch * LENGTH
        return [
            1.0,
            float(config.num_layers),
            float(tokens * config.num_layers * config.hidden_size),
            float(tokens * flops_per_token(config)),
            float(parameter_counts(config)[0]),
        ]


def next_scale(subject: Subject) -> tuple[Measurement, ...]:
    """R1: what the next scale needs for a training step (AdamW, fp32, B8 T64), foretold and measured.

    Memory is the formula of `gt.bench.memory` and what this scale needed beyond it. Step time is a sum of costs, whose
    coefficients (none negative) are fitted to steps of this scale's model whole, at half its depth, at half its width
    and with half the batch. Then a few steps of the next scale's model, freshly initialised, are made. On a CPU the
    time is that of the processor, so that other work on the machine does not enter it; of several repeats the
    shortest counts. The interval is bootstrapped over repeats. At the largest scale, the one before it predicts it.

    Raises:
        Unmeasurable: If the subject is of no scale that another follows, or the next one does not fit this machine.
    """
    (record, _), cached = remembered(
        subject, "next-scale", lambda: (_measure(subject), {}), batch=BATCH_SIZE, length=LENGTH
    )
    memory, step = record["memory"], record["step"]
    memory_error = memory["measured"] / memory["predicted"] - 1
    step_error = step["measured"] / step["predicted"] - 1
    worst = [max(abs(memory_error), abs(error)) for error in step["resampled"]]
    names = f"{record['from']} -> {record['to']}"
    low, high = (float(end) for end in np.percentile(step["resampled"], [2.5, 97.5]))
    note = f"{names}, batch {BATCH_SIZE}, length {LENGTH}: memory {memory_error:+.1%}, step time {step_error:+.1%}"
    found = (
        measured(
            "worst_error",
            max(abs(memory_error), abs(step_error)),
            n=record["repeats"],
            ci95=(float(np.percentile(worst, 2.5)), float(np.percentile(worst, 97.5))),
            note=note,
            detail=record,
        ),
        measured("memory_error", memory_error),
        measured("step_time_error", step_error, n=record["repeats"], ci95=(low, high)),
        measured("predicted_memory", memory["predicted"] / MIB, unit="MiB", note=record["to"]),
        measured("measured_memory", memory["measured"] / MIB, unit="MiB", note=memory["method"]),
        measured("predicted_step", step["predicted"], unit="s", note=record["to"]),
        measured("measured_step", step["measured"], unit="s", n=record["repeats"], note=step["clock"]),
    )
    return tuple(msgspec.structs.replace(one, cached=cached) for one in found)


@torch.enable_grad()
def _measure(subject: Subject) -> dict[str, Any]:
    spec, own = subject.plan.spec, subject.plan.config
    if not isinstance(spec, ModelSpec) or not isinstance(own, ModelConfig):
        raise Unmeasurable(f"no larger model of the kind of {spec.name} is known")
    fitted, predicted = registry.neighbouring_scales(spec.scale)
    this, following = (
        registry.resolve(spec.variant.name, scale).config(own.vocab_size) for scale in (fitted, predicted)
    )
    memory = _memory(subject, this, following)
    cells = [*_cells(this), Cell(following, BATCH_SIZE)]
    seconds, clock = _times(subject, cells)
    costs = np.array([cell.costs for cell in cells])
    generator = np.random.default_rng(subject.seed)
    repeats = len(seconds)
    errors = []
    for _ in range(RESAMPLES):
        drawn = seconds[generator.integers(repeats, size=repeats)].min(axis=0)
        errors.append(float(drawn[-1] / _foretell(costs, drawn) - 1))
    shortest = seconds.min(axis=0)
    return {
        "from": fitted,
        "to": predicted,
        "repeats": repeats,
        "memory": memory,
        "step": {
            "predicted": _foretell(costs, shortest),
            "measured": float(shortest[-1]),
            "resampled": errors,
            "clock": clock,
            "cells": [
                {
                    "layers": cell.config.num_layers,
                    "hidden": cell.config.hidden_size,
                    "batch": cell.batch,
                    "s": float(s),
                }
                for cell, s in zip(cells, shortest, strict=True)
            ],
        },
    }


def _cells(config: ModelConfig) -> list[Cell]:
    """This scale's model, half its depth, half its width, and both, each with the whole batch and with half."""
    shallow, narrow = max(1, config.num_layers // 2), max(1, config.num_heads // 2)
    width = narrow * config.head_dim
    return [
        Cell(msgspec.structs.replace(config, num_layers=layers, hidden_size=hidden, num_heads=heads), batch)
        for layers in (config.num_layers, shallow)
        for hidden, heads in ((config.hidden_size, config.num_heads), (width, narrow))
        for batch in (BATCH_SIZE, BATCH_SIZE // 2)
    ]


def _foretell(costs: Array, seconds: Array) -> float:
    """Time of the last cell from those of the others: relative least squares with no negative coefficient.

    Few terms: every choice of those that are not zero is tried.
    """
    known, target = costs[:-1] / seconds[:-1, None], np.ones(len(seconds) - 1)
    best, least = 0.0, np.inf
    for count in range(1, costs.shape[1] + 1):
        for chosen in map(list, itertools.combinations(range(costs.shape[1]), count)):
            scale = np.abs(known[:, chosen]).max(axis=0)
            found = np.linalg.lstsq(known[:, chosen] / scale, target, rcond=None)[0] / scale
            error = float(((known[:, chosen] @ found - target) ** 2).sum())
            if (found >= 0).all() and error < least:
                best, least = float(costs[-1, chosen] @ found), error
    return best


def _times(subject: Subject, cells: Sequence[Cell]) -> tuple[Array, str]:
    """Seconds of a training step, [repeats, cells], all cells in turn; and what was read to tell them."""
    on_gpu = subject.device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    steps = [_step(subject, cell) for cell in cells]
    for step in steps:
        step()  # first calls allocate and compile
    rows: list[list[float]] = []
    begun = clock()
    while len(rows) < LEAST_REPEATS or (len(rows) < MOST_REPEATS and clock() - begun < BUDGET_S):
        row = []
        for step in steps:
            started = clock()
            step()
            if on_gpu:
                torch.cuda.synchronize()
            row.append(clock() - started)
        rows.append(row)
        subject.progress(len(rows), MOST_REPEATS, "timed steps of every size")
    return np.array(rows), "wall clock" if on_gpu else "processor time"


def _step(subject: Subject, cell: Cell) -> Callable[[], object]:
    model = subject.build_as(cell.config)
    optimizer = make_optimizer(model, LR)
    generator = torch.Generator().manual_seed(subject.seed)

    def tokens_BT() -> torch.Tensor:
        shape = (cell.batch, LENGTH + 1)
        return torch.randint(cell.config.vocab_size, shape, generator=generator).to(subject.device)

    if subject.device.type == "cuda":
        step = captured_step(model, optimizer, tokens_BT(), CLIP)
        return lambda: step(tokens_BT())
    return lambda: train_step(model, optimizer, tokens_BT(), CLIP)


def _memory(subject: Subject, this: ModelConfig, following: ModelConfig) -> dict[str, Any]:
    """Bytes at the peak of a step of the next scale, foretold and measured.

    What comes on top of what tensors hold (scratch of kernels, arenas of threads) hardly depends on the scale.
    """
    backends = {op: resolve(op, subject.device.type).backend.name for op in BACKENDS}
    formula = [predict(config, BATCH_SIZE, LENGTH, "float32", backends) for config in (this, following)]
    if formula[0] is None or formula[1] is None:
        raise Unmeasurable(f"there is no formula of the memory of {subject.plan.spec.name}")
    room = torch.cuda.mem_get_info()[0] if subject.device.type == "cuda" else available_memory()
    unfit = too_large(formula[1].peak, room)
    if unfit:
        raise Unmeasurable(f"{following.scale} {unfit}")
    peaks = []
    for done, config in enumerate((this, following)):
        subject.progress(done, 2, f"memory of {config.scale}")
        request = PeakRequest(
            subject=subject.plan.request,
            batch=BATCH_SIZE,
            length=LENGTH,
            threads=torch.get_num_threads(),
            config=config,
        )
        try:
            peaks.append(measure(request, subject.device.type))
        except PeakError as error:
            raise Unmeasurable(f"memory of {config.scale}: {error}") from error
    return {
        "formula": formula[1].peak,
        "beyond_formula": peaks[0].growth - formula[0].peak,
        "predicted": formula[1].peak + peaks[0].growth - formula[0].peak,
        "measured": peaks[1].growth,
        "method": peaks[1].method,
    }
