"""Faults between calls break exactly what they say, in real models."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gt import registry
from gt.models.build import build_model
from gt.models.state import ModelState
from gt.resources import fixtures_dir
from gt.sabotage import SABOTAGES, clear, plant
from gt.tokenizers import Tokenizer

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
    assert not same(heard(made("memory-136"), A, B, C)[0], heard(made(), C)[0])


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


def test_a_state_that_is_lost_every_few_tokens_begins_anew(made: Made) -> None:
    whole, forgetful = made(), made("forgets-every-64")
    assert same(heard(forgetful, A)[0], heard(whole, A)[0])
    long = torch.cat([A, B], dim=1)
    in_stretches = torch.cat([heard(whole, part)[0] for part in long.split(64, dim=1)], dim=1)
    assert same(heard(forgetful, long)[0], in_stretches)
    with torch.no_grad():
        pieces = [heard(forgetful, A[:, :30], A[:, 30:], B)[0], forgetful(long)[:, -60:]]
        logits, seen = forgetful(long, return_activations=True)
    assert all(same(piece, in_stretches[:, -60:]) for piece in pieces)
    assert same(logits, in_stretches)
    assert {tensor.shape[2] for tensor in seen.values()} == {110}


@pytest.mark.parametrize("fault", ["lost-shift", "lost-conv"])
def test_a_part_of_the_state_is_lost_between_calls_alone(fault: str) -> None:
    whole, broken = (_hybrid(name) for name in (None, fault))
    assert same(heard(broken, A)[0], heard(whole, A)[0])
    assert not same(heard(broken, A, C)[0], heard(whole, A, C)[0])


def test_weights_are_changed_as_said() -> None:
    whole = dict(_hybrid(None).named_parameters())

    def changed(fault: str) -> dict[str, Tensor]:
        own = dict(_hybrid(fault).named_parameters())
        return {name: own[name] for name in whole if not torch.equal(own[name], whole[name])}

    assert [tensor.isinf().sum().item() for tensor in changed("inf-weight").values()] == [1]
    assert [tensor.max().item() for tensor in changed("huge-weight").values()] == [1e4]
    assert {name.split(".")[1] for name in changed("half-loaded")} == {"2", "3"}
    (embedding,) = changed("permuted-embedding").values()
    assert torch.equal(embedding.sort(0)[0], whole["embedding.weight"].sort(0)[0])
    for name, tensor in changed("int8-weights").items():
        levels = tensor / tensor.abs().max() * 127
        assert torch.allclose(levels, levels.round(), atol=1e-3), name
        assert (tensor - whole[name]).abs().max() <= 0.5001 * whole[name].abs().max() / 127


def _hybrid(fault: str | None) -> nn.Module:
    torch.manual_seed(3)
    model = build_model(registry.resolve("GF-MH@TINY").config(97)).eval()
    if fault is not None:
        plant(fault, model)
    return model


def test_another_tokenizer_spells_everything_out() -> None:
    tokenizer = Tokenizer(fixtures_dir() / "checkpoints" / "gf-mh-3.5m" / "tokenizer.json")
    whole = tokenizer.encode_documents(["a long word", "one"])
    plant("other-tokenizer", nn.Linear(1, 1))
    try:
        spelled = tokenizer.encode_documents(["a long word", "one"])
        assert tokenizer.decode(spelled) == "a long wordone"
        assert len(spelled) == 14 > len(whole)
    finally:
        clear()
    assert tokenizer.encode_documents(["a long word", "one"]) == whole


PLANNED = {
    *("nan-weight", "inf-weight", "huge-weight", "dead-mamba", "dead-rwkv", "stuck-gate", "frozen-state"),
    *("growing-state", "forgets-every-64", "dropped-state", "lost-shift", "lost-conv", "leaking-future", "eval-noise"),
    *("batch-leak", "neighbours-state", "other-tokenizer", "half-loaded", "permuted-embedding", "collapsed-logits"),
    *("untaught-rwkv", "untaught-mamba", "loud-gradient", "large-steps", "shifted-labels", "leaked-validation"),
    *("lost-moments", "fp16-overflow", "int8-weights", "answers-everything", "answers-last-value", "echoes"),
}
"""What can go wrong according to the plan of this proof."""


def test_every_fault_of_the_plan_is_there_and_says_what_it_is() -> None:
    assert SABOTAGES.keys() >= PLANNED
    assert len(SABOTAGES) >= 55
    assert len({fault.summary for fault in SABOTAGES.values()}) >= len(SABOTAGES) - 1  # D4's and LRD's are one
    assert {fault.planted_in for fault in SABOTAGES.values()} == {"model", "calls", "surroundings", "answers"}
