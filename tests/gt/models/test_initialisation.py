"""Initialisation as published: RWKV-6 (official code), Mamba-2 (`mamba_ssm`), and the block around them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gt import registry
from gt.models.hybrid import HybridLM
from gt.models.mamba2 import Mamba2
from gt.models.rwkv6 import RWKV6TimeMix

LAYERS, C, HEADS = 5, 96, 3


def build(name: str, vocab_size: int = 61) -> HybridLM:
    torch.manual_seed(0)
    return HybridLM(registry.resolve(name).config(vocab_size))


def is_uniform(values: Tensor, low: float, high: float) -> bool:
    """Whether quantiles, mean and spread of the values are those of a uniform distribution, within four deviations."""
    flat = ((values.detach().double().flatten() - low) / (high - low)).sort().values
    n = len(flat)
    if flat[0] < -1e-6 or flat[-1] > 1 + 1e-6:
        return False
    expected = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return float((flat - expected).abs().max()) < 2 / math.sqrt(n)  # Kolmogorov-Smirnov: 1.63 is the 1% level


def test_the_measure_of_uniformity_sees_what_is_not() -> None:
    torch.manual_seed(0)
    assert is_uniform(torch.rand(1000), 0, 1)
    assert not is_uniform(torch.rand(1000) ** 1.3, 0, 1)
    assert not is_uniform(torch.rand(1000) * 0.9, 0, 1)
    assert not is_uniform(torch.rand(1000) * 1.1, 0, 1)


@pytest.mark.parametrize("layer", range(LAYERS))
def test_rwkv_in_every_channel(layer: int) -> None:
    torch.manual_seed(layer)
    mixer = RWKV6TimeMix(C, HEADS, layer, LAYERS).requires_grad_(False)
    depth, remaining = layer / (LAYERS - 1), 1 - layer / LAYERS
    expected: dict[str, list[float]] = {f"time_maa_{name}": [] for name in "xwkvrg"} | {"decay": [], "bonus": []}
    for n in range(C):
        ramp, position = (n / C) ** remaining, n / (C - 1)
        for name in "xwk":
            expected[f"time_maa_{name}"].append(1 - ramp)
        expected["time_maa_v"].append(1 - (ramp + 0.3 * depth))
        for name in "rg":
            expected[f"time_maa_{name}"].append(1 - (n / C) ** (remaining / 2))
        expected["decay"].append(-6 + 5 * position ** (0.7 + 1.3 * depth))
        expected["bonus"].append(depth * (1 - position) + ((n + 1) % 3 - 1) * 0.1)
    for name in ("x", "w", "k", "v", "r", "g"):
        got = mixer.get_parameter(f"time_maa_{name}").flatten()
        assert torch.allclose(got, torch.tensor(expected[f"time_maa_{name}"]), atol=1e-6), name
    assert torch.allclose(mixer.time_decay.flatten(), torch.tensor(expected["decay"]), atol=1e-5)
    assert torch.allclose(mixer.time_faaaa.flatten(), torch.tensor(expected["bonus"]), atol=1e-6)
    assert torch.allclose(mixer.ln_x.weight, torch.full((C,), ((layer + 1) / LAYERS) ** 0.7))
    assert not mixer.ln_x.bias.any()
    assert mixer.ln_x.eps == pytest.approx(64e-5)


def test_rwkv_matrices() -> None:
    torch.manual_seed(0)
    mixer = RWKV6TimeMix(C, HEADS, 1, LAYERS).requires_grad_(False)
    for linear, gain in ((mixer.receptance, 1.0), (mixer.value, 1.0), (mixer.key, 0.1), (mixer.gate, 0.1)):
        assert torch.allclose(linear.weight @ linear.weight.T, gain**2 * torch.eye(C), atol=1e-5)
        assert linear.bias is None
    assert not mixer.output.weight.any()
    assert not mixer.time_maa_w1.any()
    assert not mixer.time_decay_w1.any()
    assert is_uniform(mixer.time_maa_w2, -0.01, 0.01)
    assert is_uniform(mixer.time_decay_w2, -0.01, 0.01)


def test_a_single_layer_of_rwkv_divides_by_nothing() -> None:
    mixer = RWKV6TimeMix(C, HEADS, 0, 1)
    assert all(bool(torch.isfinite(parameter).all()) for parameter in mixer.parameters())


def test_mamba() -> None:
    torch.manual_seed(0)
    hidden = 1024
    mamba = Mamba2(hidden, d_state=16, head_dim=2, expand=2, conv_width=4, num_layers=8).requires_grad_(False)
    assert mamba.num_heads == 1024
    assert is_uniform(mamba.A_log.exp(), 1, 16)
    step = torch.nn.functional.softplus(mamba.dt_bias.double())
    assert is_uniform(step.log(), math.log(1e-3), math.log(0.1))
    assert (mamba.D == 1).all()
    assert (mamba.norm.weight == 1).all()
    # Linear layers and the convolution keep the framework's start: uniform in 1 / sqrt(fan in).
    assert is_uniform(mamba.in_proj.weight[:64], -1 / math.sqrt(hidden), 1 / math.sqrt(hidden))
    assert is_uniform(mamba.conv1d.weight, -0.5, 0.5)
    assert is_uniform(mamba.conv1d.get_parameter("bias"), -0.5, 0.5)
    limit = 1 / math.sqrt(2 * hidden) / math.sqrt(2 * 8)
    assert is_uniform(mamba.out_proj.weight[:64], -limit, limit)


def test_the_smallest_step_of_mamba_is_kept_above_its_floor() -> None:
    torch.manual_seed(0)
    mamba = Mamba2(1024, d_state=16, head_dim=2, expand=2, conv_width=4, num_layers=8)
    step = torch.nn.functional.softplus(mamba.dt_bias.detach().double())
    assert float(step.min()) >= 1e-4
    assert torch.isfinite(mamba.dt_bias).all()


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
