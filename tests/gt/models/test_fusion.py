"""Fusions: their formulas, where they start, and the share that they report."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gt import registry
from gt.models.build import build_model
from gt.models.fusion import FUSIONS

C = 12
STARTS = {
    "HY": 0.7,
    "GF": 0.5,
    "GF-MH": 0.3,
    "GF-RH": 0.7,
    "GF-XM": 0.03,
    "GF-XR": 0.97,
    "WS": 0.5,
    "RF": 1 / 1.3,
    "HGF": 0.5,
    "HGF-MH": 0.3,
    "HGF-RH": 0.7,
}


@pytest.fixture
def outputs() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 5, C), torch.randn(2, 5, C)


def perturbed(name: str) -> nn.Module:
    """A fusion as training might leave it."""
    torch.manual_seed(1)
    fusion = FUSIONS[name](C, 0.4)
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return fusion


def norm(x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def test_gains(outputs: tuple[Tensor, Tensor]) -> None:
    r, m = outputs
    fusion = perturbed("gains")
    g_r, g_m, w_r, w_m = (
        fusion.get_parameter(n) for n in ("rwkv_gain", "mamba_gain", "rwkv_norm.weight", "mamba_norm.weight")
    )
    fused, share = fusion(r, m)
    assert torch.allclose(fused, g_r * norm(r) * w_r + g_m * norm(m) * w_m, atol=1e-6)
    assert torch.allclose(share, (g_r / (g_r + g_m)).expand(2, 5, C))


@pytest.mark.parametrize(("name", "gates"), [("gated", 1), ("channel_gated", C)])
def test_gates(outputs: tuple[Tensor, Tensor], name: str, gates: int) -> None:
    r, m = outputs
    fusion = perturbed(name)
    weight, bias = fusion.get_parameter("gate.weight"), fusion.get_parameter("gate.bias")
    s = torch.sigmoid(torch.cat([r, m], -1) @ weight.T + bias)
    fused, share = fusion(r, m)
    assert share.shape == (2, 5, gates)
    assert torch.allclose(share, s, atol=1e-6)
    assert torch.allclose(fused, s * r + (1 - s) * m, atol=1e-6)


def test_concatenation_has_no_share(outputs: tuple[Tensor, Tensor]) -> None:
    r, m = outputs
    fusion = perturbed("concatenated")
    weight, bias = fusion.get_parameter("projection.weight"), fusion.get_parameter("projection.bias")
    fused, share = fusion(r, m)
    assert share is None
    assert torch.allclose(fused, torch.cat([r, m], -1) @ weight.T + bias, atol=1e-6)


def test_one_weight(outputs: tuple[Tensor, Tensor]) -> None:
    r, m = outputs
    fusion = perturbed("weighted")
    w = fusion.get_parameter("weight")
    fused, share = fusion(r, m)
    assert torch.allclose(fused, w * r + (1 - w) * m, atol=1e-6)
    assert torch.allclose(share, w.expand(2, 5, 1))


def test_residual(outputs: tuple[Tensor, Tensor]) -> None:
    r, m = outputs
    fusion = perturbed("residual")
    a = fusion.get_parameter("scale")
    fused, share = fusion(r, m)
    assert torch.allclose(fused, r + a * m, atol=1e-6)
    assert torch.allclose(share, (1 / (1 + a)).expand(2, 5, 1))


@pytest.mark.parametrize("name", ["gains", "weighted", "residual"])
def test_a_share_stays_a_share_when_a_coefficient_is_negative(outputs: tuple[Tensor, Tensor], name: str) -> None:
    fusion = FUSIONS[name](C, 0.4)
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.fill_(-0.5)
    _, share = fusion(*outputs)
    assert ((share > 0) & (share < 1)).all()


@pytest.mark.parametrize("variant", STARTS)
@torch.no_grad()
def test_the_gate_starts_at_the_share_of_rwkv(variant: str) -> None:
    torch.manual_seed(0)
    model = build_model(registry.resolve(variant, "TINY").config(61))
    _, state, seen = model(torch.randint(61, (2, 6)), return_states=True, return_activations=True)
    assert torch.allclose(seen["gate"], torch.full_like(seen["gate"], STARTS[variant]), atol=1e-6)
    assert float(state["gate"]) == pytest.approx(STARTS[variant], abs=1e-6)


def test_starting_values_are_those_of_the_table() -> None:
    def start(variant: str, name: str) -> Tensor:
        model = build_model(registry.resolve(variant, "TINY").config(61))
        return model.get_parameter(f"blocks.0.fusion.{name}").detach()

    assert torch.allclose(start("HY", "rwkv_gain"), torch.full((64,), 0.7))
    assert torch.allclose(start("HY", "mamba_gain"), torch.full((64,), 0.3))
    assert float(start("WS", "weight")) == 0.5
    assert float(start("RF", "scale")) == pytest.approx(0.3, abs=1e-7)
    for variant, share in (("GF-MH", 0.3), ("HGF-RH", 0.7)):
        assert not start(variant, "gate.weight").any()
        assert torch.allclose(start(variant, "gate.bias"), torch.tensor(math.log(share / (1 - share))))
    assert float(start("CP", "projection.weight").abs().max()) == pytest.approx(1 / math.sqrt(128), rel=0.01)
