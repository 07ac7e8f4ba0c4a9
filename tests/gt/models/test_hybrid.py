"""The hybrid model: what it returns, and how it starts."""

from __future__ import annotations

import math

import pytest
import torch

from gt import registry
from gt.models.config import ModelConfig, state_shapes
from gt.models.hybrid import HybridLM
from gt.models.rwkv6 import RWKV6TimeMix
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


def test_rwkv_starts_as_published() -> None:
    layers, C, heads = 4, 64, 2
    for layer in range(layers):
        torch.manual_seed(layer)
        mixer = RWKV6TimeMix(C, heads, layer, layers).requires_grad_(False)
        rho, q, i = layer / 3, 1 - layer / 4, 10
        assert float(mixer.time_maa_k[0, 0, i]) == pytest.approx(1 - (i / C) ** q, abs=1e-6)
        assert float(mixer.time_maa_v[0, 0, i]) == pytest.approx(1 - ((i / C) ** q + 0.3 * rho), abs=1e-6)
        assert float(mixer.time_maa_r[0, 0, i]) == pytest.approx(1 - (i / C) ** (q / 2), abs=1e-6)
        expected = -6 + 5 * (i / (C - 1)) ** (0.7 + 1.3 * rho)
        assert float(mixer.time_decay[0, 0, i]) == pytest.approx(expected, abs=1e-5)
        u = rho * (1 - i / (C - 1)) + ((i + 1) % 3 - 1) * 0.1
        assert float(mixer.time_faaaa.flatten()[i]) == pytest.approx(u, abs=1e-6)
        assert not mixer.time_maa_w1.any()
        assert not mixer.time_decay_w1.any()
        assert 0.009 < float(mixer.time_maa_w2.detach().abs().max()) <= 0.01
        assert not mixer.output.weight.any()
        for linear, gain in ((mixer.receptance, 1.0), (mixer.value, 1.0), (mixer.key, 0.1), (mixer.gate, 0.1)):
            gram = linear.weight @ linear.weight.T
            assert torch.allclose(gram, gain**2 * torch.eye(C), atol=1e-5)
        assert float(mixer.ln_x.weight[0]) == pytest.approx(((layer + 1) / layers) ** 0.7, abs=1e-6)
        assert mixer.ln_x.eps == pytest.approx(64e-5)


def test_mamba_starts_as_published() -> None:
    model = build("GF-MH@3.5M")
    for block in model.blocks:
        mamba = block.mamba
        assert (mamba.D == 1).all()  # type: ignore[union-attr,operator]
        A = mamba.A_log.exp()  # type: ignore[union-attr,operator]
        assert ((A >= 1) & (A <= 16)).all()
        step = torch.nn.functional.softplus(mamba.dt_bias)  # type: ignore[union-attr,arg-type]
        assert ((step >= 1e-4) & (step <= 0.1001)).all()


def test_plain_weights_start_small_and_rwkv_is_not_silent_in_a_hybrid() -> None:
    model = build("GF-MH@3.5M", vocab_size=512)
    for weight in (model.embedding.weight, model.blocks[0].ffn.up.weight, model.blocks[3].ffn.down.weight):
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.03)
    # As Mamba's out_proj: uniform in 1 / sqrt(fan in), divided by the root of the residual branches.
    for block in model.blocks:
        limit = 1 / math.sqrt(128) / math.sqrt(2 * 8)
        assert float(block.rwkv.output.weight.detach().abs().max()) == pytest.approx(limit, rel=0.01)
        limit = 1 / math.sqrt(256) / math.sqrt(2 * 8)
        assert float(block.mamba.out_proj.weight.detach().abs().max()) == pytest.approx(limit, rel=0.01)
    alone = build("RWKV6@TINY")
    assert not any(block.rwkv.output.weight.any() for block in alone.blocks)


def test_the_head_is_the_embedding() -> None:
    model = build("GF-MH@TINY")
    assert model.embedding.weight.shape == (61, 64)
    assert not any("head" in key for key in model.state_dict())
