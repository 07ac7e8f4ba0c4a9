"""D7: maps to look at: which layer's state is worth what, and which earlier tokens change the output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gt.measurement import Measurement, measured
from gt.models.state import ModelState
from gt.probes.compare import finite_interval, rounded
from gt.probes.components import INTACT, LENGTH, Zeroed, zeroed_losses
from gt.probes.course import Course
from gt.probes.recurrent import names_by_component, reading_options

if TYPE_CHECKING:
    from gt.subject import Subject

TEXTS = 8
BLOCK, BLOCKS = 8, 16
FAR = 8
"""Blocks between what is replaced and what counts as far from it: 64 tokens."""
STRETCH = 16
"""Tokens from one place of the states' course to the next."""
ROWS = 2
"""Texts whose layers are zeroed at once: all ways of reading are one batch."""


@torch.no_grad()
def maps(subject: Subject) -> tuple[Measurement, ...]:
    """D7: share of probability that moves when a block of 8 tokens at least 64 tokens earlier is another text's.

    In 8 texts of 128 tokens, each of 16 blocks in turn is replaced by that of another text; the change at a later token
    is the total variation distance between its next-token distributions (0: the same, 1: nothing in common). The
    detail has all pairs of blocks.

    Recorded, of models with states: the rise of the loss, as in D3, when one component's state is zeroed in one layer;
    and the course of the states along 256 tokens, every 16.
    """
    model = subject.trained_model
    windows_BT = subject.windows(TEXTS, BLOCK * BLOCKS, apart=True)
    influence = torch.stack([_influence(model, windows_BT, block) for block in range(BLOCKS)], dim=1)  # [B, from, to]
    apart = torch.arange(BLOCKS)[None] - torch.arange(BLOCKS)[:, None]
    value, low, high = finite_interval(influence[:, apart >= FAR].mean(1).tolist())
    found = [
        measured(
            "far_influence",
            value,
            n=len(windows_BT),
            ci95=(low, high),
            note=subject.trained_note,
            detail={"tokens": BLOCK, "influence": _lower(influence.mean(0))},
        )
    ]
    if {"states", "streaming"} <= subject.capabilities:
        found.append(_layers(subject, model))
    return tuple(found)


def _influence(model: nn.Module, windows_BT: Tensor, block: int) -> Tensor:
    """Distance of the distributions after each block [B, blocks] from those with one block replaced."""
    other_BT = windows_BT.clone()
    place = slice(block * BLOCK, (block + 1) * BLOCK)
    other_BT[:, place] = windows_BT.roll(1, dims=0)[:, place]
    before, after = (model(tokens).float().softmax(-1) for tokens in (windows_BT, other_BT))
    moved_BT: Tensor = (after - before).abs().sum(-1).double() / 2
    by_block: Tensor = moved_BT.view(len(windows_BT), BLOCKS, BLOCK).mean(-1).cpu()
    return by_block


def _lower(influence: Tensor) -> list[list[float | None]]:
    """[from][to], None where `to` comes before: nothing is to change there, which G1b judges."""
    rows: list[list[float | None]] = rounded(influence)
    return [[value if to >= first else None for to, value in enumerate(row)] for first, row in enumerate(rows)]


def _layers(subject: Subject, model: nn.Module) -> Measurement:
    """Rise of the loss when one layer's state of one component is zeroed; the largest counts."""
    windows_BT = subject.windows(TEXTS, LENGTH + 1, apart=True)
    by_way: dict[str, list[float]] = {}
    done = 0
    for batch_BT in windows_BT.split(ROWS):
        losses, _ = zeroed_losses(model, batch_BT, _each_layer)
        for way, loss in losses.items():
            by_way.setdefault(way, []).extend((loss - losses[INTACT]).mean(1).tolist())
        done += len(batch_BT)
        subject.progress(done, len(windows_BT), "layers zeroed")
    del by_way[INTACT]
    rises: dict[str, list[Any]] = {}
    for way, values in by_way.items():
        rises.setdefault(way.partition(" ")[0], []).append(rounded(sum(values) / len(values)))
    largest = max(by_way, key=lambda way: sum(by_way[way]))
    value, low, high = finite_interval(by_way[largest])
    return measured(
        "layer_loss_rise",
        value,
        unit="nats",
        n=len(windows_BT),
        ci95=(low, high),
        note=largest,
        detail={"by_layer": rises, "course": _course(model, windows_BT[:, :-1])},
    )


def _course(model: nn.Module, windows_BT: Tensor) -> dict[str, Any]:
    course, state = Course(), None
    for number, stretch_BT in enumerate(windows_BT.split(STRETCH, dim=1)):
        state = model(stretch_BT, state=state, return_states=True, **reading_options(model))[1]
        course.add((number + 1) * STRETCH, state)
    return course.detail()


def _each_layer(state: ModelState) -> Zeroed:
    return {
        INTACT: ("", slice(None)),
        **{
            f"{component} layer {layer}": (name, slice(layer, layer + 1))
            for component, name in names_by_component(state).items()
            for layer in range(state[name].shape[1])
        },
    }
