"""What is known of a model without building it: names, shapes, counts, FLOPs, for every variant at every scale."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gt import kernels, registry
from gt.models.build import build_model
from gt.models.config import (
    cache_size,
    flops_per_token,
    parameter_counts,
    parameter_shapes,
    state_shapes,
    state_size,
)

VARIANTS = list(registry.VARIANTS)
SCALES = list(dict.fromkeys(registry.scale_names().values()))
ALL = [f"{variant}@{scale}" for variant in VARIANTS for scale in SCALES]
RUNGS = {"0.3M", "1M", "2M"}  # of the ladder for the scaling law
FUSION_PARAMETERS = {
    "HY": 256,
    **dict.fromkeys(("GF", "GF-MH", "GF-RH", "GF-XM", "GF-XR"), 257),
    "CP": 32_896,
    "WS": 1,
    "RF": 1,
    **dict.fromkeys(("HGF", "HGF-MH", "HGF-RH"), 32_896),
}


def test_every_variant_and_scale_of_the_documents_is_there() -> None:
    assert set(VARIANTS) == {*FUSION_PARAMETERS, "RWKV6", "Mamba2", "GPT2"}
    assert [scale for scale in SCALES if scale not in RUNGS] == ["TINY", "3.5M", "6M", "8M", "30M", "125M"]


@pytest.mark.parametrize("name", ALL)
def test_shapes_are_known_without_building(name: str) -> None:
    config = registry.resolve(name).config(61)
    with torch.device("meta"):
        model = build_model(config)
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    assert parameter_shapes(config) == shapes
    total, non_embedding = parameter_counts(config)
    assert total == sum(p.numel() for p in model.parameters())
    tables = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    assert total - non_embedding == sum(table.weight.numel() for table in tables)


@pytest.mark.parametrize("name", [f"{variant}@{scale}" for variant in VARIANTS for scale in ("TINY", "3.5M")])
def test_small_ones_are_built_as_they_were_promised(name: str) -> None:
    config = registry.resolve(name).config(61)
    model = build_model(config)
    assert parameter_shapes(config) == {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    assert all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


@pytest.mark.parametrize("variant", FUSION_PARAMETERS)
def test_a_fusion_has_exactly_the_parameters_of_the_table(variant: str) -> None:
    config = registry.resolve(variant, "3.5M").config(61)
    assert config.hidden_size == 128
    with torch.device("meta"):
        model = build_model(config)
    for block in range(config.num_layers):
        prefix = f"blocks.{block}.fusion."
        known = [
            shape for name, shape in parameter_shapes(config).items() if name.startswith(prefix) if "norm" not in name
        ]
        built = [p for name, p in model.named_parameters() if name.startswith(prefix) and "norm" not in name]
        assert sum(torch.Size(shape).numel() for shape in known) == FUSION_PARAMETERS[variant]
        assert sum(parameter.numel() for parameter in built) == FUSION_PARAMETERS[variant]


@pytest.mark.parametrize(
    ("scale", "non_embedding", "tolerance"),
    [
        ("0.3M", 0.35e6, 0.02),
        ("1M", 0.94e6, 0.02),
        ("2M", 1.87e6, 0.02),
        ("3.5M", 3.1e6, 0.02),
        ("8M", 8.2e6, 0.02),
        ("30M", 30e6, 0.05),
        ("125M", 125e6, 0.05),
    ],
)
def test_sizes_are_what_the_table_of_scales_says(scale: str, non_embedding: float, tolerance: float) -> None:
    total, without = parameter_counts(registry.resolve("GF-MH", scale).config())
    assert without == pytest.approx(non_embedding, rel=tolerance)
    if scale == "3.5M":
        assert total == pytest.approx(4.2e6, rel=0.02)


@pytest.mark.parametrize("scale", SCALES)
def test_widths_are_divided_by_their_heads(scale: str) -> None:
    one, other = registry.resolve("GF", scale).config(), registry.resolve("GPT2", scale).config()
    assert one.num_heads * one.head_dim == one.hidden_size
    assert one.mamba_heads * one.mamba_head_dim == one.d_inner == 2 * one.hidden_size
    assert other.num_heads * other.head_dim == other.hidden_size
    if scale in ("30M", "125M"):
        assert (one.head_dim, one.d_state) == (64, 128)
    else:
        assert (one.head_dim, one.d_state) == (32, 64)


@pytest.mark.parametrize("scale", SCALES)
def test_gpt2_has_the_parameters_of_the_hybrid(scale: str) -> None:
    hybrid, _ = parameter_counts(registry.resolve("GF-MH", scale).config(8192))
    transformer, _ = parameter_counts(registry.resolve("GPT2", scale).config(8192))
    assert transformer == pytest.approx(hybrid, rel=0.05)


def test_gpt2_reads_what_the_checks_read() -> None:
    for scale in SCALES:
        claimed = registry.scale_claims(scale)
        assert registry.resolve("GPT2", scale).config().max_positions >= max(257, 2 * claimed)


def _silent_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators that do no matrix products, so that only the layers around them are counted."""

    def wkv6(
        r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(v), v.new_zeros(len(v), k.shape[2], k.shape[3], v.shape[3])

    def ssd(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, *rest: Tensor | None) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(x), x.new_zeros(len(x), *x.shape[2:], B.shape[-1])

    def conv(x: Tensor, weight: Tensor, *rest: Tensor | None) -> tuple[Tensor, Tensor]:
        return x, x.new_zeros(len(x), x.shape[2], weight.shape[1] - 1)

    for name, function in (("wkv6", wkv6), ("ssd", ssd), ("causal_conv1d", conv)):
        monkeypatch.setattr(kernels, name, function)


@pytest.mark.parametrize("variant", VARIANTS)
def test_flops_are_those_that_torch_counts(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    B, T = 2, 12
    _silent_kernels(monkeypatch)
    config = registry.resolve(variant, "TINY").config(61)
    model = build_model(config)
    # Of the ways to compute attention, only this one is counted on every device.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(B, T, dtype=torch.long))
    uncounted = 0
    if "rwkv" in config.mixers:
        uncounted += config.num_layers * 5 * config.num_heads * config.head_dim**2
    if "mamba" in config.mixers:
        state = config.mamba_heads * config.mamba_head_dim * config.d_state
        uncounted += config.num_layers * (5 * state + 2 * config.conv_dim * config.conv_width)
    assert B * T * (flops_per_token(config, context=T) - uncounted) == counter.get_total_flops()


def test_flops_of_the_smallest_hybrid_by_hand() -> None:
    C, layers, V = 64, 4, 61
    rwkv = 5 * C * C + C * 5 * 32 + 5 * 32 * C + 2 * 64 * C
    mamba = C * (2 * C + 2 * C + 2 * 64 + 2) + 2 * C * C + (2 * C + 2 * 64) * 4
    state = 2 * 32 * 32 + 2 * 64 * 64
    by_hand = 2 * (layers * (rwkv + mamba + 2 * C + 8 * C * C) + V * C) + 5 * layers * state
    assert flops_per_token(registry.resolve("GF@TINY").config(V)) == by_hand


def test_state_sizes() -> None:
    one = registry.resolve("GF-MH@3.5M").config()
    assert state_size(one) == 8 * (4 * 32 * 32 + 128 + 4 * 64 * 64 + (256 + 128) * 3)
    assert cache_size(one) == 0
    transformer = registry.resolve("GPT2@3.5M").config()
    assert state_shapes(transformer) == {}
    assert state_size(transformer) == 0
    assert cache_size(transformer) == 2 * 9 * 160
