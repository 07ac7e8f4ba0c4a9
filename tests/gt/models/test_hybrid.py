"""The hybrid model: shapes, counts, streaming, activations, initialisation, for every variant and scale."""

from __future__ import annotations

import math

import pytest
import torch

from gt import registry
from gt.models.config import ModelConfig, parameter_counts, parameter_shapes, state_shapes
from gt.models.hybrid import HybridLM
from gt.models.rwkv6 import RWKV6TimeMix
from gt.models.state import ModelState

VARIANTS = list(registry.VARIANTS)
SCALES = sorted(set(registry.scale_names().values()))
ALL = [f"{variant}@{scale}" for variant in VARIANTS for scale in SCALES]


def config(name: str, vocab_size: int = 61) -> ModelConfig:
    return registry.resolve(name).config(vocab_size)


def build(name: str, vocab_size: int = 61) -> HybridLM:
    torch.manual_seed(0)
    return HybridLM(config(name, vocab_size))


@pytest.mark.parametrize("name", ALL)
def test_shapes_are_known_without_building(name: str) -> None:
    with torch.device("meta"):
        model = HybridLM(config(name))
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    assert parameter_shapes(config(name)) == shapes
    total, non_embedding = parameter_counts(config(name))
    assert total == sum(p.numel() for p in model.parameters())
    assert total - non_embedding == model.embedding.weight.numel()


@pytest.mark.parametrize(
    ("scale", "non_embedding", "total"), [("3.5M", 3.1e6, 4.2e6), ("8M", 8.2e6, 9.8e6)], ids=["3.5M", "8M"]
)
def test_sizes_are_what_the_table_of_scales_says(scale: str, non_embedding: float, total: float) -> None:
    got_total, got_non_embedding = parameter_counts(registry.resolve("GF-MH", scale).config())
    assert got_non_embedding == pytest.approx(non_embedding, rel=0.05)
    assert got_total == pytest.approx(total, rel=0.05)


@pytest.mark.parametrize("scale", SCALES)
def test_heads_divide_the_widths(scale: str) -> None:
    one = config(f"GF@{scale}")
    assert one.num_heads * one.head_dim == one.hidden_size
    assert one.mamba_heads * one.mamba_head_dim == one.d_inner == 2 * one.hidden_size


@pytest.mark.parametrize("name", [f"{variant}@TINY" for variant in VARIANTS])
def test_states_have_the_shapes_that_the_configuration_implies(name: str) -> None:
    logits, state = build(name)(torch.randint(61, (3, 9)), return_states=True)
    assert logits.shape == (3, 9, 61)
    assert {key: (3, *shape) for key, shape in state_shapes(config(name)).items()} == {
        key: tuple(tensor.shape) for key, tensor in state.tensors.items()
    }
    assert all(state[key].dtype == torch.float32 for key in state if key.endswith("_state"))


def test_states_have_the_axes_that_were_promised() -> None:
    one = config("GF-MH@3.5M")
    shapes = state_shapes(one)
    assert shapes["rwkv_state"] == (8, 4, 32, 32)
    assert shapes["mamba_state"] == (8, 4, 64, 64)


@pytest.mark.parametrize("name", [f"{variant}@TINY" for variant in VARIANTS])
@torch.no_grad()
def test_streaming_equals_the_parallel_form(name: str) -> None:
    model, tokens = build(name).double(), torch.randint(61, (2, 41))
    whole, end = model(tokens, return_states=True)
    for sizes in ([1] * 41, [16, 1, 24], [7, 34]):
        state, pieces = None, []
        for piece in tokens.split(sizes, dim=1):
            logits, state = model(piece, state=state, return_states=True)
            pieces.append(logits)
        assert torch.allclose(torch.cat(pieces, dim=1), whole, atol=1e-10)
        assert all(torch.allclose(state.tensors[key], end.tensors[key], atol=1e-10) for key in end.tensors)  # type: ignore[union-attr]


@torch.no_grad()
def test_bf16_keeps_fp32_recurrent_states() -> None:
    model = build("GF-MH@TINY").bfloat16()
    logits, state = model(torch.randint(61, (2, 20)), return_states=True)
    assert logits.dtype == torch.bfloat16
    assert state["rwkv_state"].dtype == state["mamba_state"].dtype == torch.float32


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


@pytest.mark.parametrize(
    ("name", "share"), [("GF", 0.5), ("GF-MH", 0.3), ("GF-RH", 0.7), ("GF-XM", 0.03), ("GF-XR", 0.97)]
)
@torch.no_grad()
def test_the_gate_starts_at_the_share_of_rwkv(name: str, share: float) -> None:
    model = build(f"{name}@TINY")
    _, state, seen = model(torch.randint(61, (2, 6)), return_states=True, return_activations=True)
    assert torch.allclose(seen["gate"], torch.full_like(seen["gate"], share), atol=1e-6)
    assert float(state["gate"]) == pytest.approx(share, abs=1e-6)
    fused = seen["mamba_out"] * (1 - share) + seen["rwkv_out"] * share
    assert torch.allclose(
        model.blocks[0].fusion(seen["rwkv_out"][:, 0], seen["mamba_out"][:, 0])[0],  # type: ignore[operator,union-attr]
        fused[:, 0],
        atol=1e-6,
    )


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


def test_one_seed_gives_one_model() -> None:
    for one, other in zip(build("GF@TINY").parameters(), build("GF@TINY").parameters(), strict=True):
        assert torch.equal(one, other)
