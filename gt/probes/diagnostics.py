"""G3.5, D1, D2 and D4: how states behave over length and over inputs, and whether early text reaches late logits."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gt.measurement import Measurement, measured
from gt.models.hybrid import BlockLM
from gt.models.state import ModelState
from gt.probes.compare import Interval, finite_interval, finite_values, least, worst
from gt.probes.course import Course, live_dimensions
from gt.probes.recurrent import final_state, norms, reading_options, recurrent

if TYPE_CHECKING:
    from gt.subject import Subject

TEXTS = 16

SETTLED, MOVED = 128, 64
"""G3.5: tokens before a state is looked at, and tokens in which it is to move."""
RANKED_TEXTS = 4
STILL = 0.01
"""G3.5: an element holds a value if that is at least this share of its layer's RMS, and stays where it is if it
changes by no more than this share of itself."""

FIRST_LENGTH, SEGMENT, DIVERGING_TEXTS = 64, 512, 8

PREFIX, FLOW_LENGTH = 16, 256


@torch.no_grad()
def movement(subject: Subject) -> tuple[Measurement, ...]:
    """G3.5: variance of each component's outputs over texts, and by how much its state changes within 64 tokens.

    The variance is that over 16 texts at the same position, mean over positions, channels and layers; the change is
    that of the whole state from token 128 to token 192, relative to its norm. The smaller of the components counts. A
    model of the user's own whose outputs cannot be seen is judged by its state alone.

    Recorded: the effective rank of the state matrices as a share of their size (exponential of the entropy of the
    normalised singular values: Roy and Vetterli 2007, EUSIPCO), and the share of saturated elements, which hold a value
    and stay where they are.
    """
    model = subject.trained_model
    windows_BT = subject.windows(TEXTS, SETTLED + MOVED, apart=True)
    before: ModelState = model(windows_BT[:, :SETTLED], return_states=True, **reading_options(model))[1]
    seen = isinstance(model, BlockLM) or "two_components" in subject.capabilities
    options = {"return_activations": True} if seen else {}
    _, after, *activations = model(windows_BT[:, SETTLED:], state=before, return_states=True, **options)
    changes = {name: _relative_change(old, recurrent(after)[name]) for name, old in recurrent(before).items()}
    intervals = {name: finite_interval(values) for name, values in changes.items()}
    component, change = least({name: interval[0] for name, interval in intervals.items()})
    note = "; ".join(filter(None, (component, subject.trained_note)))
    found = [
        measured(
            "min_state_change",
            change,
            n=len(windows_BT),
            ci95=intervals[component][1:],
            note=note,
            detail=finite_values({name: interval[0] for name, interval in intervals.items()}),
        )
    ]
    if activations:
        found.insert(0, _least_variance(activations[0]))
    ranks = {name: finite_interval(rank) for name, part in recurrent(after).items() if (rank := _effective_ranks(part))}
    if ranks:
        found.append(_smaller("min_effective_rank_share", ranks, RANKED_TEXTS))
    stuck = {
        name: finite_interval(_saturated_shares(old, recurrent(after)[name])) for name, old in recurrent(before).items()
    }
    shares = {name: interval[0] for name, interval in stuck.items()}
    where, share = worst(shares)
    found.append(
        measured(
            "max_saturated_share",
            share,
            n=len(windows_BT),
            ci95=stuck[where][1:],
            note=where,
            detail=finite_values(shares),
        )
    )
    return tuple(found)


def _relative_change(before: Tensor, after: Tensor) -> list[float]:
    """Change of each sequence's state, relative to its norm; a state of zeros that stays so has not changed."""
    moved = (after - before).flatten(1).norm(dim=-1)
    size = before.flatten(1).norm(dim=-1)
    shares: list[float] = torch.where(moved == 0, moved, moved / size).tolist()
    return shares


def _least_variance(activations: dict[str, Tensor]) -> Measurement:
    outputs = {name.removesuffix("_out"): out.double() for name, out in activations.items() if name.endswith("_out")}
    variances = {name: _variance(out) for name, out in outputs.items()}
    return _smaller("min_activation_variance", variances, len(next(iter(outputs.values()))))


def _variance(rows: Tensor) -> Interval:
    """Variance over texts, mean over all else, as the mean of what each text adds to it."""
    added = (rows - rows.mean(dim=0)).square().flatten(1).mean(dim=1) * (len(rows) / (len(rows) - 1))
    return finite_interval(added.tolist())


def _smaller(metric: str, intervals: dict[str, Interval], count: int) -> Measurement:
    values = {name: interval[0] for name, interval in intervals.items()}
    component, value = least(values)
    ci95 = intervals[component][1:]
    return measured(metric, value, n=count, ci95=ci95, note=component, detail=finite_values(values))


def _effective_ranks(state: Tensor) -> list[float]:
    """Effective rank of matrices [B, L, ..., rows, columns] as a share of the largest, of each text."""
    if state.ndim < 4:
        return []
    if not torch.isfinite(state).all():
        return [math.nan] * RANKED_TEXTS
    singular = torch.linalg.svdvals(state[:RANKED_TEXTS].float())
    shares = singular / singular.sum(-1, keepdim=True).clamp_min(torch.finfo(singular.dtype).tiny)
    ranks: list[float] = (torch.special.entr(shares).sum(-1).exp().flatten(1).mean(1) / singular.shape[-1]).tolist()
    return ranks


def _saturated_shares(before: Tensor, after: Tensor) -> list[float]:
    rms = after.flatten(2).square().mean(-1).sqrt()
    size = rms.view(*rms.shape, *[1] * (after.ndim - 2))
    held = after.abs() >= STILL * size
    still = (after - before).abs() <= STILL * after.abs()
    stuck: list[float] = (held & still & (after != 0)).double().flatten(1).mean(1).tolist()
    return stuck if torch.isfinite(after).all() else [math.nan] * len(stuck)


@torch.no_grad()
def divergence(subject: Subject, length: int = 512) -> tuple[Measurement, ...]:
    """D1: by how much the norm of each component's state grows from 64 tokens to `length`; the larger counts.

    The text is streamed in pieces of at most 512 tokens, so that memory does not grow with it; the norm is over all
    layers.
    Source: observation 15 of the fusion document (64, 128, 256 and 512 tokens).

    Recorded: the course of the state, wherever the text is cut: its norm by layer, and its cosine with that of the
    place before.

    Args:
        subject: What is measured.
        length: Tokens to read: 64 times a power of two.
    """
    model = subject.trained_model
    windows_BT = subject.windows(DIVERGING_TEXTS, length, apart=True)
    marks = [FIRST_LENGTH * 2**power for power in range(int(math.log2(length / FIRST_LENGTH)) + 1)]
    course = Course()
    cuts = sorted({0, *marks, *range(SEGMENT, length, SEGMENT)})
    sizes: dict[int, dict[str, Tensor]] = {}
    state: ModelState | None = None
    for start, end in pairwise(cuts):
        piece_BT = windows_BT[:, start:end]
        state = model(piece_BT, state=state, return_states=True, **reading_options(model))[1]
        if end in marks:
            sizes[end] = norms(state)
        course.add(end, state)
        subject.progress(end, length, "state norms")
    first, last = sizes[FIRST_LENGTH], sizes[length]
    growths = {name: finite_interval((last[name] / first[name]).tolist()) for name in first}
    component, growth = worst({name: interval[0] for name, interval in growths.items()})
    note = "; ".join(filter(None, (component, subject.trained_note)))
    detail: dict[str, Any] = {
        name: {str(mark): float(of[name].mean()) for mark, of in sizes.items() if torch.isfinite(of[name]).all()}
        for name in growths
    }
    detail["course"] = course.detail()
    found = [
        measured("max_growth", growth, n=len(windows_BT), ci95=growths[component][1:], note=note, detail=detail),
    ]
    found += [
        measured(f"growth_{name}", value, n=len(windows_BT), ci95=(low, high))
        for name, (value, low, high) in growths.items()
    ]
    return tuple(found)


def collapse(subject: Subject) -> tuple[Measurement, ...]:
    """D2: variance of each component's final state over 16 texts of 256 tokens, mean over its elements.

    Recorded: by how much each dimension of the states varies, `live_dimensions`.
    Source: observation 15 of the fusion document.
    """
    windows_BT = subject.windows(TEXTS, FLOW_LENGTH, apart=True)
    state = final_state(subject, windows_BT, trained=True)
    intervals = {name: _variance(part) for name, part in recurrent(state).items()}
    variances = {name: interval[0] for name, interval in intervals.items()}
    (smaller, low), (larger, high) = least(variances), worst(variances)
    note = "; ".join(filter(None, (smaller, subject.trained_note)))
    detail = {**finite_values(variances), "live": live_dimensions(state)}
    return (
        measured("min_variance", low, n=len(windows_BT), ci95=intervals[smaller][1:], note=note, detail=detail),
        measured("max_variance", high, n=len(windows_BT), ci95=intervals[larger][1:], note=larger),
    )


@torch.no_grad()
def information_flow(subject: Subject) -> tuple[Measurement, ...]:
    """D4: relative change (L2) of the logits after 256 tokens when the first 16 are another text's, against noise.

    The noise is the change of the same logits when the same text is read in another way that is equal in exact
    arithmetic: in two calls, cut after the 16 tokens; by a model that does not stream, each row alone. It is never
    taken smaller than the rounding of the data type.
    """
    model = subject.trained_model
    windows_BT = subject.windows(TEXTS, FLOW_LENGTH, apart=True)
    other_BT = windows_BT.clone()
    other_BT[:, :PREFIX] = windows_BT.roll(1, dims=0)[:, :PREFIX]
    last_BV = _last_logits(model, windows_BT)
    changes = _relative(_last_logits(model, other_BT), last_BV).tolist()
    again_BV = _read_again(model, windows_BT, streams="streaming" in subject.capabilities)
    noise = max(float(_relative(again_BV, last_BV).mean()), torch.finfo(last_BV.dtype).eps)
    value, low, high = finite_interval(changes)
    note = "; ".join(filter(None, (f"noise {noise:.1g}", subject.trained_note)))
    return (
        measured("information_flow", value, n=len(changes), ci95=(low, high), note=note),
        measured("flow_over_noise", value / noise, n=len(changes), ci95=(low / noise, high / noise)),
    )


def _last_logits(model: nn.Module, tokens_BT: Tensor) -> Tensor:
    logits: Tensor = model(tokens_BT, **reading_options(model))
    return logits[:, -1]


def _read_again(model: nn.Module, tokens_BT: Tensor, streams: bool) -> Tensor:
    if not streams:
        return torch.cat([_last_logits(model, row[None]) for row in tokens_BT])
    _, state = model(tokens_BT[:, :PREFIX], return_states=True)
    logits: Tensor = model(tokens_BT[:, PREFIX:], state=state, **reading_options(model))
    return logits[:, -1]


def _relative(got_BV: Tensor, expected_BV: Tensor) -> Tensor:
    expected_BV = expected_BV.double()
    shares: Tensor = (got_BV.double() - expected_BV).norm(dim=-1) / expected_BV.norm(dim=-1)
    return shares
