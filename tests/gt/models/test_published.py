"""The published language models: golden numbers of their authors' code, streaming, precision, starting values."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gt.kernels import BACKENDS
from gt.models.config import MIXER_OPS
from gt.models.norm import RMSNorm
from gt.models.published import PublishedLM
from gt.models.published_config import (
    Naming,
    PublishedConfig,
    PublishedMamba2,
    PublishedRWKV6,
    official_name,
    parameter_counts,
)
from tests.golden import record, relmax, tensors

RWKV6 = PublishedRWKV6(
    vocab_size=97, num_layers=2, hidden_size=64, num_heads=2, ffn_size=224, lora_mix=32, lora_decay=64
)
MAMBA2 = PublishedMamba2(
    vocab_size=97,
    num_layers=2,
    hidden_size=64,
    d_state=32,
    mamba_head_dim=32,
    expand=2,
    conv_width=4,
    num_groups=1,
    norm_groups=1,
    tied=False,
)
GOLDEN: dict[str, tuple[PublishedConfig, Naming, dict[str, str], str]] = {
    "rwkv6_model": (
        RWKV6,
        "rwkv6",
        {"wkv": "rwkv_state", "att_shift": "rwkv_shift", "ffn_shift": "ffn_shift"},
        "golden.act.att.0",
    ),
    "mamba2_model": (MAMBA2, "transformers", {"ssm": "mamba_state", "conv": "mamba_conv"}, "golden.act.mixer.0"),
}
FP32 = {"logits": 3e-5, "loss": 2e-6, "norm": 2e-5, "state": 1e-5, "gradient": 2e-5}
FP64 = {"logits": 5e-7, "loss": 1e-12, "norm": 1e-10, "state": 2e-7, "gradient": 2e-7}
NATIVE_REFUSED = BACKENDS["wkv6"][0].refused()


def build(name: str, dtype: torch.dtype = torch.float32) -> PublishedLM:
    config, naming, _, _ = GOLDEN[name]
    weights = {key: tensors(name)[official_name(key, naming)] for key in config.parameter_shapes()}
    model = PublishedLM(config)
    model.load_state_dict(weights)
    return model.to(dtype)


def expected_states(name: str) -> dict[str, Tensor]:
    data = tensors(name)
    states = {
        ours: torch.stack([data[f"golden.state.{layer}.{theirs}"] for layer in (0, 1)], dim=1)
        for theirs, ours in GOLDEN[name][2].items()
    }
    # Of the four inputs that are stored, the oldest is never needed again.
    return {key: value[..., 1:] if key == "mamba_conv" else value for key, value in states.items()}


@pytest.mark.parametrize(
    "kernels",
    [
        "",
        "reference",
        "chunked",
        pytest.param("native", marks=pytest.mark.skipif(bool(NATIVE_REFUSED), reason=str(NATIVE_REFUSED))),
    ],
    ids=["fastest", "reference", "chunked", "native"],
)
@pytest.mark.parametrize(("dtype", "limits"), [(torch.float32, FP32), (torch.float64, FP64)], ids=["fp32", "fp64"])
@pytest.mark.parametrize("name", GOLDEN)
def test_logits_states_loss_and_gradients(
    name: str, dtype: torch.dtype, limits: dict[str, float], kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GT_KERNELS", kernels)
    data, told, naming = tensors(name), record(name), GOLDEN[name][1]
    tokens = data["golden.input_ids"]
    model = build(name, dtype)
    logits, state, seen = model(tokens, return_states=True, return_activations=True)
    assert float((logits.detach().double() - data["golden.logits"].double()).abs().max()) <= limits["logits"]
    expected = expected_states(name)
    assert state.tensors.keys() == expected.keys()
    for part, tensor in expected.items():
        assert relmax(state[part], tensor) <= limits["state"], part
    (mixed,) = seen.values()
    assert relmax(mixed[:, 0], data[GOLDEN[name][3]]) <= limits["state"]

    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    assert float(loss.detach()) == pytest.approx(told["loss_value"], abs=limits["loss"])
    loss.backward()
    for ours, tensor in model.named_parameters():
        parameter = official_name(ours, naming)
        assert tensor.grad is not None
        norm = float(tensor.grad.double().norm())
        assert norm == pytest.approx(told["parameters"][parameter]["grad_norm"], rel=limits["norm"]), parameter
        stored = data.get(f"golden.grad.{parameter}")
        if stored is not None:
            assert relmax(tensor.grad, stored) <= limits["gradient"], parameter


@pytest.mark.parametrize("sizes", [[1] * 33, [20] + [1] * 13, [16, 1, 16]], ids=["tokens", "prefill", "pieces"])
@pytest.mark.parametrize("name", GOLDEN)
@torch.no_grad()
def test_streaming_gives_the_same_logits_and_states(name: str, sizes: list[int]) -> None:
    data, model = tensors(name), build(name, torch.float64)
    state, pieces = None, []
    for piece in data["golden.input_ids"].split(sizes, dim=1):
        logits, state = model(piece, state=state, return_states=True)
        pieces.append(logits)
    assert state is not None
    assert float((torch.cat(pieces, 1) - data["golden.logits"].double()).abs().max()) <= FP64["logits"]
    for part, expected in expected_states(name).items():
        assert relmax(state[part], expected) <= FP64["state"], part


def test_golden_operators_cover_every_recurrence() -> None:
    recurrences = {op for ops in MIXER_OPS.values() for op in ops} - {"causal_conv1d"}
    assert recurrences == {"wkv6", "ssd"}
    assert recurrences <= BACKENDS.keys()


@pytest.mark.parametrize("name", GOLDEN)
@torch.no_grad()
def test_bf16_stays_close_and_keeps_fp32_recurrent_states(name: str) -> None:
    tokens = tensors(name)["golden.input_ids"]
    model = build(name, torch.bfloat16)
    logits, state = model(tokens, return_states=True)
    assert logits.dtype == torch.bfloat16
    assert all(state[part].dtype == torch.float32 for part in state if part.endswith("_state"))
    assert relmax(logits.float(), tensors(name)["golden.logits"]) < 0.05
    continued, _ = model(tokens[:, :1], state=state, return_states=True)
    assert continued.isfinite().all()


@torch.no_grad()
def test_mamba_adds_up_in_fp32() -> None:
    model = build("mamba2_model", torch.bfloat16)
    dtypes: list[torch.dtype] = []
    for block in model.blocks:
        block.register_forward_hook(lambda module, inputs, output: dtypes.append(output[0].dtype))
    model(torch.zeros(1, 3, dtype=torch.long))
    assert dtypes == [torch.float32, torch.float32]


CONFIGS: dict[str, PublishedConfig] = {
    "rwkv6": RWKV6,
    "rwkv6 of the rank of the 7B": PublishedRWKV6(
        vocab_size=31, num_layers=3, hidden_size=48, num_heads=3, ffn_size=168, lora_mix=64, lora_decay=128
    ),
    "mamba2": MAMBA2,
    "mamba2 tied in groups": PublishedMamba2(
        vocab_size=31,
        num_layers=3,
        hidden_size=48,
        d_state=8,
        mamba_head_dim=12,
        expand=2,
        conv_width=3,
        num_groups=4,
        norm_groups=4,
        tied=True,
    ),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_shapes_and_counts_are_known_without_building(config: PublishedConfig) -> None:
    with torch.device("meta"):
        model = PublishedLM(config)
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == config.parameter_shapes()
    embedding = config.vocab_size * config.hidden_size
    tied = getattr(config, "tied", False)
    total, non_embedding = parameter_counts(config)
    assert total == sum(prod(p.shape) for p in model.parameters())
    assert total - non_embedding == (1 if tied else 2) * embedding


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@torch.no_grad()
def test_a_fresh_model_streams_in_states_of_the_promised_shapes(config: PublishedConfig) -> None:
    torch.manual_seed(0)
    model = PublishedLM(config).double()
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))  # what starts at zero would hide a fault
    tokens = torch.randint(config.vocab_size, (3, 21))
    whole, end = model(tokens, return_states=True)
    first, state = model(tokens[:, :9], return_states=True)
    second, state = model(tokens[:, 9:], state=state, return_states=True)
    assert torch.allclose(torch.cat([first, second], dim=1), whole, atol=1e-10)
    assert {name: (3, *shape) for name, shape in config.state_shapes().items()} == {
        name: tuple(tensor.shape) for name, tensor in end.tensors.items()
    }
    assert all(torch.allclose(state[name], end[name], atol=1e-10) for name in end)
    assert isinstance(model(tokens), Tensor)


def test_rwkv6_starts_as_published() -> None:
    torch.manual_seed(0)
    weights = PublishedLM(RWKV6).state_dict()
    assert float(weights["embedding.weight"].abs().max()) <= 1e-4
    head = weights["head.weight"]
    assert torch.allclose(head.T @ head, 0.25 * 97 / 64 * torch.eye(64), atol=1e-5)
    for layer in (0, 1):
        ffn = f"blocks.{layer}.ffn."
        assert not weights[ffn + "value.weight"].any()
        assert not weights[ffn + "receptance.weight"].any()
        assert not weights[f"blocks.{layer}.rwkv.output.weight"].any()
        key = weights[ffn + "key.weight"]
        assert torch.allclose(key.T @ key, torch.eye(64), atol=1e-5)
        for name in ("time_maa_k", "time_maa_r"):
            expected = 1 - (10 / 64) ** (1 - layer / 2)
            assert float(weights[ffn + name][0, 0, 10]) == pytest.approx(expected, abs=1e-6)


def test_mamba2_starts_as_published() -> None:
    torch.manual_seed(0)
    weights = PublishedLM(MAMBA2).state_dict()
    assert float(weights["embedding.weight"].std()) == pytest.approx(0.02, rel=0.05)
    # One residual branch per layer: 1 / sqrt(fan in) over the root of two.
    limit = (128 * 2) ** -0.5
    assert float(weights["blocks.0.mamba.out_proj.weight"].abs().max()) == pytest.approx(limit, rel=0.01)


def test_a_norm_in_groups_is_one_norm_per_group() -> None:
    torch.manual_seed(0)
    y, z = torch.randn(2, 5, 12), torch.randn(2, 5, 12)
    norm = RMSNorm(12, groups=3)
    norm.weight.data.uniform_(0.5, 2)
    parts = []
    for index in range(3):
        alone, run = RMSNorm(4), slice(4 * index, 4 * index + 4)
        alone.weight.data = norm.weight.data[run]
        parts.append(alone(y[..., run], z[..., run]))
    assert torch.allclose(norm(y, z), torch.cat(parts, dim=-1), atol=1e-6)
    assert not torch.allclose(norm(y, z), RMSNorm(12)(y, z) * norm.weight, atol=1e-2)


@pytest.mark.parametrize("name", GOLDEN)
def test_no_token_is_an_error_of_the_caller(name: str) -> None:
    with pytest.raises(ValueError, match="with at least one token"):
        build(name)(torch.zeros(2, 0, dtype=torch.long))
