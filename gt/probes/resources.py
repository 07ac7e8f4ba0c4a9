"""R1: memory and step time of the next scale, predicted from this one and then measured."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from gt import registry
from gt.bench.memory import available_memory, too_large
from gt.bench.peak import PeakError, PeakRequest, measure
from gt.cache import remembered
from gt.measurement import Measurement, Unmeasurable, measured
from gt.models.config import ModelConfig
from gt.probes.compare import median_interval
from gt.probes.step_sizes import Cell, Kind, OwnCell, peak_of_step, sizes_of
from gt.registry import ModelSpec
from gt.training.mini import BATCH_SIZE, CLIP, LENGTH, LR
from gt.training.optim import captured_step, make_optimizer, train_step
from gt.user_models import UserModel

if TYPE_CHECKING:
    from gt.subject import Subject

MIB = 2**20
LEAST_REPEATS, MOST_REPEATS = 6, 9  # fewer than six have no interval of their median; that of nine leaves out extremes
LEAST_WARMING, MOST_WARMING = 3, 6  # the first call allocates and compiles, the second still meets new memory
SETTLED = 0.1  # what half of the times of a round differ by at most from those of the round before
CALLS_ON_GPU = 20  # of a step that is timed as one: it takes a millisecond, and launching it is no small part of that
BUDGET_S = 24.0  # of timed rounds, and of those that warm up

Array = npt.NDArray[np.float64]


def next_scale(subject: Subject) -> tuple[Measurement, ...]:
    """R1: what the next scale needs for a training step (AdamW, fp32, B8 T64), foretold and measured.

    Memory is a formula (`peak_of_step`) and what this scale needed beyond it. Step time is a sum of costs, whose
    coefficients (none negative) are fitted to steps of this scale's model: of ours whole, at half its depth, at half
    its width and with half the batch; of one's own with half the vocabulary and half the batch, and of every smaller
    scale that is registered. Then a few steps of the next scale's model, freshly initialised, are made. On a CPU the
    time is that of the processor in one thread, so that other work on the machine does not enter it.

    Every repeat times all sizes in turn and foretells on its own, once the times of two rounds agreed (`_settled`) or
    `MOST_WARMING` rounds were made. The median of their errors counts, with the interval between order statistics
    (`median_interval`): a shortest time has none. At the largest scale, the one before it predicts it.

    Raises:
        Unmeasurable: If nothing larger of its kind is known, or the next scale does not fit this machine.
    """
    (record, _), cached = remembered(
        subject, "next-scale", lambda: (_measure(subject), {}), batch=BATCH_SIZE, length=LENGTH
    )
    memory, step = record["memory"], record["step"]
    memory_error = memory["measured"] / memory["predicted"] - 1
    step_error, low, high = median_interval(step["errors"])
    # The larger of two sizes: where the interval of one contains 0, its size may be 0.
    nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    ends = [max(abs(memory_error), one) for one in (nearest, max(abs(low), abs(high)))]
    names = f"{record['from']} -> {record['to']}"
    note = f"{names}, batch {BATCH_SIZE}, length {LENGTH}: memory {memory_error:+.1%}, step time {step_error:+.1%}"
    found = (
        measured(
            "worst_error",
            max(abs(memory_error), abs(step_error)),
            n=record["repeats"],
            ci95=None if math.isnan(low) else (ends[0], ends[1]),
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
    this, following, smaller = _kinds(subject)
    memory = _memory(subject, this, following)
    cells = [*_cells(subject, (this, *smaller)), *_cells(subject, (following,))[:1]]
    seconds, clock = _times(subject, cells)
    costs = np.array([cell.costs(LENGTH) for cell in cells])
    foretold = [_foretell(costs, row) for row in seconds]
    return {
        "from": this.scale,
        "to": following.scale,
        "repeats": len(seconds),
        "memory": memory,
        "step": {
            "predicted": float(np.median(foretold)),
            "measured": float(np.median(seconds[:, -1])),
            "errors": [float(row[-1] / ahead - 1) for row, ahead in zip(seconds, foretold, strict=True)],
            "clock": clock,
            "cells": [{**cell.told, "s": float(s)} for cell, s in zip(cells, np.median(seconds, axis=0), strict=True)],
        },
    }


def _kinds(subject: Subject) -> tuple[Kind, Kind, tuple[UserModel, ...]]:
    """The model to fit on, the one to foretell, and smaller ones of the user's that may be fitted on too."""
    spec, config = subject.plan.spec, subject.plan.config
    if isinstance(spec, ModelSpec) and isinstance(config, ModelConfig):
        fitted, ahead = (
            registry.resolve(spec.variant.name, scale).config(config.vocab_size)
            for scale in registry.neighbouring_scales(spec.scale)
        )
        return fitted, ahead, ()
    family = spec.family if isinstance(spec, UserModel) else {}
    if len(family) < 2:
        raise Unmeasurable(f"no larger model of the kind of {spec.name} is known")
    this, following = (family[scale] for scale in registry.neighbouring_scales(spec.scale, list(family)))
    sizes = [sizes_of(subject.build_as(model)).params for model in (this, following)]
    if sizes[0] >= sizes[1]:
        raise Unmeasurable(
            f"{following.name} has {sizes[1]:,} parameters and {this.name} {sizes[0]:,}: register a larger model for it"
        )
    known = list(family)
    return this, following, tuple(family[scale] for scale in known[: known.index(this.scale)])


def _cells(subject: Subject, kinds: Sequence[Kind]) -> list[Cell | OwnCell]:
    """The sizes to time of each model, the first of them the whole.

    Of ours half its depth, half its width, and both; of one's own half its vocabulary. Each with half the batch too.
    """
    found: list[Cell | OwnCell] = []
    for kind in kinds:
        if isinstance(kind, ModelConfig):
            shallow, narrow = max(1, kind.num_layers // 2), max(1, kind.num_heads // 2)
            found += [
                Cell(msgspec.structs.replace(kind, num_layers=layers, hidden_size=hidden, num_heads=heads), batch)
                for layers in (kind.num_layers, shallow)
                for hidden, heads in ((kind.hidden_size, kind.num_heads), (narrow * kind.head_dim, narrow))
                for batch in (BATCH_SIZE, BATCH_SIZE // 2)
            ]
            continue
        for vocab_size in (subject.vocab_size, subject.vocab_size // 2):
            sizes = sizes_of(subject.build_as(kind, vocab_size))
            found += [OwnCell(kind, vocab_size, batch, sizes) for batch in (BATCH_SIZE, BATCH_SIZE // 2)]
    return found


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


def _times(subject: Subject, cells: Sequence[Cell | OwnCell]) -> tuple[Array, str]:
    """Seconds of a training step, [repeats, cells], all cells in turn; and what was read to tell them."""
    on_gpu = subject.device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    try:
        steps = [_step(subject, cell) for cell in cells]
    except torch.OutOfMemoryError:
        raise Unmeasurable("the GPU has no room for models of all sizes that are timed in turn") from None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that spin while they wait use the processor and do nothing
    try:
        rows = _rows(subject, steps, clock)
    finally:
        torch.set_num_threads(threads)
    return np.array(rows), "wall clock" if on_gpu else "processor time, one thread"


def _rows(subject: Subject, steps: Sequence[Callable[[], object]], clock: Callable[[], float]) -> list[list[float]]:
    """Seconds of each step in every timed round, after rounds that warm up."""
    on_gpu = subject.device.type == "cuda"
    calls = CALLS_ON_GPU if on_gpu else 1

    def made() -> list[float]:
        row = []
        for step in steps:
            started = clock()
            for _ in range(calls):
                step()
            if on_gpu:
                torch.cuda.synchronize()
            row.append((clock() - started) / calls)
        return row

    def more(rows: Sequence[object], least: int, most: int) -> bool:
        return len(rows) < least or (len(rows) < most and clock() - begun < BUDGET_S)

    warming: list[list[float]] = []
    begun = clock()
    while more(warming, LEAST_WARMING, MOST_WARMING) and not _settled(warming[LEAST_WARMING - 2 :]):
        subject.progress(len(warming), MOST_WARMING, "steps of every size, until their times settle")
        warming.append(made())
    rows: list[list[float]] = []
    begun = clock()
    while more(rows, LEAST_REPEATS, MOST_REPEATS):
        subject.progress(len(rows), MOST_REPEATS, "timed steps of every size")
        rows.append(made())
    return rows


def _settled(rounds: Sequence[Sequence[float]]) -> bool:
    """Whether most steps took the same in the last two rounds: on a busy machine there is always one that did not."""
    if len(rounds) < 2:
        return False
    before, now = np.array(rounds[-2:])
    return bool(np.median(np.abs(now / before - 1)) <= SETTLED)


def _step(subject: Subject, cell: Cell | OwnCell) -> Callable[[], object]:
    model = cell.build(subject)
    optimizer = make_optimizer(model, LR)
    generator = torch.Generator().manual_seed(subject.seed)

    def tokens_BT() -> torch.Tensor:
        shape = (cell.batch, LENGTH + 1)
        return torch.randint(cell.vocab_size, shape, generator=generator).to(subject.device)

    if subject.device.type == "cuda" and isinstance(cell, Cell):  # another's model may do what no graph can hold
        step = captured_step(model, optimizer, tokens_BT(), CLIP)
        return lambda: step(tokens_BT())
    return lambda: train_step(model, optimizer, tokens_BT(), CLIP, halves=False)


def _memory(subject: Subject, this: Kind, following: Kind) -> dict[str, Any]:
    """Bytes at the peak of a step of the next scale, foretold and measured.

    What comes on top of what tensors and compiled layers hold (workspaces of the matrix library, small blocks that the
    allocator keeps) hardly depends on the scale.
    """
    formula = [peak_of_step(subject, kind, BATCH_SIZE, LENGTH) for kind in (this, following)]
    room = _room_on_gpu() if subject.device.type == "cuda" else available_memory()
    unfit = too_large(formula[1], room)
    if unfit:
        raise Unmeasurable(f"{following.scale} {unfit}")
    peaks = []
    for done, kind in enumerate((this, following)):
        subject.progress(done, 2, f"memory of {kind.scale}")
        try:
            peaks.append(measure(_request(subject, kind), subject.device.type))
        except (PeakError, ValueError) as error:
            raise Unmeasurable(f"memory of {kind.scale}: {error}") from error
    beyond = peaks[0].growth - formula[0]
    return {
        "formula": formula[1],
        "beyond_formula": beyond,
        "predicted": formula[1] + beyond,
        "measured": peaks[1].growth,
        "method": peaks[1].method,
    }


def _room_on_gpu() -> int:
    torch.cuda.empty_cache()  # what earlier checks have let go of counts as taken otherwise
    return torch.cuda.mem_get_info()[0]


def _request(subject: Subject, kind: Kind) -> PeakRequest:
    """What a process of its own is to measure.

    Raises:
        ValueError: If no other process can build the model.
    """
    request = PeakRequest(
        subject=subject.plan.request, batch=BATCH_SIZE, length=LENGTH, threads=torch.get_num_threads()
    )
    if isinstance(kind, ModelConfig):
        return msgspec.structs.replace(request, config=kind)
    named = msgspec.structs.replace(request.subject, model=kind.target_name, scale=None)
    return msgspec.structs.replace(request, subject=named, own_vocab_size=subject.vocab_size)
