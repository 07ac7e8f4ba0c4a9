"""The hybrid model: what it returns."""

from __future__ import annotations

import pytest
import torch

from gt import registry
from gt.models.config import ModelConfig, state_shapes
from gt.models.hybrid import HybridLM
from gt.models.state import ModelState


def config(name: str, vocab_size: int = 61) -> ModelConfig:
    return registry.resolve(name).config(vocab_size)


def build(name: str, vocab_size: int = 61) -> HybridLM:
    torch.manual_seed(0)
    return HybridLM(config(name, vocab_size))


def test_states_have_the_axes_that_were_promised() -> None:
    one = config("GF-MH@3.5M")
    shapes = state_shapes(one)
    assert shapes["rwkv_state"] == (8, 4, 32, 32)
    assert shapes["mamba_state"] == (8, 4, 64, 64)


@torch.no_grad()
def test_return_values_come_in_their_order() -> None:
    model, tokens = build("GF-MH@TINY"), torch.randint(61, (2, 5))
    logits = model(tokens)
    assert isinstance(logits, torch.Tensor)
    with_state, state = model(tokens, return_states=True)
    with_seen, seen = model(tokens, return_activations=True)
    all_three = model(tokens, return_states=True, return_activations=True)
    assert isinstance(state, ModelState)
    assert isinstance(all_three[1], ModelState)
    assert torch.equal(logits, with_state)
    assert torch.equal(logits, with_seen)
    assert torch.equal(logits, all_three[0])
    assert {key: tuple(tensor.shape) for key, tensor in seen.items()} == {
        "rwkv_out": (2, 4, 5, 64),
        "mamba_out": (2, 4, 5, 64),
        "gate": (2, 4, 5, 1),
    }
    assert seen.keys() == all_three[2].keys()


@pytest.mark.parametrize(("name", "present"), [("RWKV6@TINY", "rwkv_out"), ("Mamba2@TINY", "mamba_out")])
@torch.no_grad()
def test_a_single_mixer_has_neither_fusion_nor_gate(name: str, present: str) -> None:
    model = build(name)
    _, state, seen = model(torch.randint(61, (1, 4)), return_states=True, return_activations=True)
    assert present in seen
    assert "gate" not in seen
    assert "gate" not in state
    assert not any("fusion" in key for key in model.state_dict())


def test_the_head_is_the_embedding() -> None:
    model = build("GF-MH@TINY")
    assert model.embedding.weight.shape == (61, 64)
    assert not any("head" in key for key in model.state_dict())
