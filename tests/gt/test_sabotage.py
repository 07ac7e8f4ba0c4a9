"""Faults between calls break exactly what they say, in real models."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gt import registry
from gt.models.build import build_model
from gt.models.state import ModelState
from gt.sabotage import plant

Made = Callable[..., nn.Module]


@pytest.fixture(params=["GF-MH", "GPT2"])
def made(request: pytest.FixtureRequest) -> Made:
    """Makes the same model again and again, with a fault or without."""

    def make(fault: str | None = None) -> nn.Module:
        torch.manual_seed(3)
        model = build_model(registry.resolve(request.param, "TINY").config(97)).eval()
        if fault is not None:
            plant(fault, model)
        return model

    return make


def heard(model: nn.Module, *stretches: Tensor) -> tuple[Tensor, ModelState]:
    """Logits and state after stretches of text, each read in a call of its own."""
    state, logits = None, torch.empty(0)
    with torch.no_grad():
        for tokens in stretches:
            logits, state = model(tokens, state=state, return_states=True)
    assert state is not None
    return logits, state


def text(seed: int, length: int, rows: int = 3) -> Tensor:
    return torch.randint(97, (rows, length), generator=torch.Generator().manual_seed(seed))


def same(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-5)


A, B, C = text(0, 50), text(1, 60), text(2, 7)


def test_a_reset_leaves_the_last_call(made: Made) -> None:
    assert same(heard(made("state-reset"), A, C)[0], heard(made(), C)[0])
    assert same(heard(made("state-reset"), A)[0], heard(made(), A)[0])
    assert not same(heard(made(), A, C)[0], heard(made(), C)[0])


def test_a_short_memory_holds_until_it_is_full(made: Made) -> None:
    assert same(heard(made("memory-96"), A, C, C)[0], heard(made(), A, C, C)[0])
    assert same(heard(made("memory-96"), A, B, C)[0], heard(made(), C)[0])
    assert same(heard(made("memory-96"), A, B, C, A)[0], heard(made(), C, A)[0])
    assert not same(heard(made("memory-160"), A, B, C)[0], heard(made(), C)[0])


def test_a_lost_beginning_is_lost_once(made: Made) -> None:
    assert same(heard(made("lost-beginning"), A, B, C)[0], heard(made(), B, C)[0])
    assert not same(heard(made("lost-beginning"), A, B, C)[0], heard(made(), C)[0])


def test_a_neighbours_state_is_that_of_the_row_below(made: Made) -> None:
    swapped = heard(made("neighbours-state"), A, C)[0]
    assert same(swapped, heard(made(), A[[1, 2, 0]], C)[0])
    assert not same(swapped, heard(made(), A, C)[0])
    assert same(heard(made("neighbours-state"), A[:1], C[:1])[0], heard(made(), A[:1], C[:1])[0])


@pytest.mark.parametrize("fault", ["memory-96", "lost-beginning"])
def test_rows_forget_on_their_own(made: Made, fault: str) -> None:
    """Conversations of different lengths are side by side."""
    model = made(fault)
    long, short = heard(model, A[:1], B[:1])[1], heard(model, B[1:2])[1]
    together = ModelState.merge([([0], long), ([1], short)])
    with torch.no_grad():
        logits = model(C[:2], state=together)
    assert same(logits[:1], heard(model, A[:1], B[:1], C[:1])[0])
    assert same(logits[1:], heard(model, B[1:2], C[1:2])[0])


@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        ("lost-second-turns", (A, C)),
        ("lost-third-turns", (A, B)),
        ("first-turn-alone", (A,)),
    ],
)
def test_a_lost_turn_leaves_nothing_behind(fault: str, kept: tuple[Tensor, ...]) -> None:
    """The question is heard whatever was lost before it, and answered token by token."""

    def hybrid(fault: str | None = None) -> nn.Module:
        torch.manual_seed(3)
        model = build_model(registry.resolve("GF-MH", "TINY").config(97)).eval()
        if fault is not None:
            plant(fault, model)
        return model

    question, answer = text(3, 9), (text(4, 1), text(5, 1))
    broken = heard(hybrid(fault), A, B, C, question, *answer)[0]
    assert same(broken, heard(hybrid(), *kept, question, *answer)[0])
    assert not same(broken, heard(hybrid(), A, B, C, question, *answer)[0])
