"""How the recurrent states evolve along a text, and where they change abruptly."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import torch
from torch import nn

from gt.models.state import ModelState
from gt.probes.compare import rounded
from gt.probes.course import Course
from gt.probes.recurrent import recurrent

USUAL_Z, USUAL_CHANGES, Z_PER_DOUBLING = 4.5, 24, 0.5
"""Robust z-score from which one of so many changes is abrupt, and what twice as many add to it.

From 3.5 up (Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers) nine of ten even texts of 4,096 tokens have
one: scores have a longer tail than a normal distribution's (`benchmarks/shifts.py`; figures in docs/trace.md).
"""

BEFORE, LEAST_BEFORE = 8, 4
"""Changes before one that it is compared with, and fewest: states begin at zero, and change less and less."""

FEWEST = 12
"""Changes without which no spread is known."""

LEAST_SPREAD = 0.05
"""Of the logarithm of a change: in a text that changes the state evenly, 5% more is not abrupt."""


class Evolution(msgspec.Struct, frozen=True, kw_only=True):
    """States at places of a text.

    Attributes:
        places: Tokens before each place.
        course: Norm by component, place and layer, and cosine with the place before, as `Course.detail` has them.
        changes: By component the change of its whole state from each place to the next, relative to its norm.
        by_layer: The same for each layer, [layers][changes].
        gate: RWKV's mean share in the fusion between the places, [layers][places]; empty where there is none.
    """

    places: list[int]
    course: dict[str, Any]
    changes: dict[str, list[float | None]]
    by_layer: dict[str, list[list[float | None]]]
    gate: list[list[float | None]]


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """An abrupt change.

    Attributes:
        component: Whose state changed.
        start: Tokens before the stretch in which it did.
        end: Tokens up to its end.
        change: By how much, relative to its norm.
        z: Robust z-score.
        layer: The layer that changed most.
    """

    component: str
    start: int
    end: int
    change: float
    z: float
    layer: int


@torch.no_grad()
def evolve(model: nn.Module, tokens: Sequence[int], places: Sequence[int], has_gate: bool) -> Evolution:
    """Read a text, and look at the states at some places.

    Args:
        model: A model that streams.
        tokens: Token ids.
        places: After how many tokens to look, rising.
        has_gate: Whether it hands out its activations, and a gate may be among them.
    """
    device = next(model.parameters()).device
    course = Course()
    state: ModelState | None = None
    before: dict[str, torch.Tensor] = {}
    changes: dict[str, list[float | None]] = {}
    by_layer: dict[str, list[list[float | None]]] = {}
    gates: list[list[float | None]] = []
    for start, end in pairwise([0, *places]):
        piece_BT = torch.tensor([list(tokens[start:end])], device=device)
        options = {"return_activations": True} if has_gate else {}
        _, state, *seen = model(piece_BT, state=state, return_states=True, **options)
        if seen and "gate" in seen[0]:
            gates.append(rounded(seen[0]["gate"].double().mean(dim=(0, 2, 3))))
        course.add(end, state)
        for component, part in recurrent(state).items():
            rows_LN = part[0].flatten(1)
            if component in before:
                moved, size = rows_LN - before[component], before[component]
                changes.setdefault(component, []).append(rounded(float(moved.norm() / size.norm()), 4))
                by_layer.setdefault(component, []).append(rounded(moved.norm(dim=1) / size.norm(dim=1), 4))
            before[component] = rows_LN
    return Evolution(
        places=list(places),
        course=course.detail(),
        changes=changes,
        by_layer={name: [list(layer) for layer in zip(*rows, strict=True)] for name, rows in by_layer.items()},
        gate=[list(layer) for layer in zip(*gates, strict=True)],
    )


def shifts(evolution: Evolution) -> list[Shift]:
    """Where a component's state begins to change abruptly.

    The logarithm of each change, less the median of those of the eight changes before it (at least four), is a
    difference; its robust z-score is its distance from the median of all differences, over 1.4826 times their median
    absolute deviation (at least 0.05). From `least_z` up a change is abrupt; of several in a row the first is given.
    Places must lie equally far apart. With fewer than twelve changes nothing is said.
    """
    found: list[Shift] = []
    for component, changes in evolution.changes.items():
        scores = robust_scores(changes)
        least = least_z(scores)
        for place, z in enumerate(scores):
            change = changes[place]
            if change is None or not z >= least or (place and scores[place - 1] >= least):
                continue
            layers = [layer[place] or 0.0 for layer in evolution.by_layer[component]]
            usual = [statistics.median(value or 0.0 for value in layer) for layer in evolution.by_layer[component]]
            most = max(range(len(layers)), key=lambda layer: layers[layer] / usual[layer] if usual[layer] else 0.0)
            start, end = evolution.places[place], evolution.places[place + 1]
            found.append(Shift(component=component, start=start, end=end, change=change, z=round(z, 1), layer=most))
    return sorted(found, key=lambda shift: (shift.start, shift.component))


def least_z(scores: Sequence[float]) -> float:
    """The z-score from which a change among these is abrupt: the more there are, the higher the highest is by chance.

    So about one even text in twenty or fewer has one, one in ten if it is short. Infinite where no score is known.
    """
    judged = sum(score == score for score in scores)
    return USUAL_Z + Z_PER_DOUBLING * math.log2(judged / USUAL_CHANGES) if judged else math.inf


def robust_scores(changes: Sequence[float | None]) -> list[float]:
    """Robust z-score of each change; NaN where it is not known."""
    logs = [math.log(change) if change else math.nan for change in changes]
    known = [value for value in logs if value == value]
    if len(known) < FEWEST:
        return [math.nan] * len(logs)
    above: list[float] = []
    for place, value in enumerate(logs):
        before = [one for one in logs[max(0, place - BEFORE) : place] if one == one]
        above.append(value - statistics.median(before) if len(before) >= LEAST_BEFORE else math.nan)
    compared = [one for one in above if one == one]
    middle = statistics.median(compared)
    spread = max(LEAST_SPREAD, 1.4826 * statistics.median(abs(one - middle) for one in compared))
    return [(one - middle) / spread for one in above]
