"""Whole language models around our mixers, against the golden numbers of the official implementations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gt.kernels import BACKENDS
from tests.golden import record, relmax, tensors
from tests.golden.published import RWKV6LM, Mamba2LM

STATES = {
    "rwkv6_model": {"wkv": "rwkv_state", "att_shift": "rwkv_shift", "ffn_shift": "ffn_shift"},
    "mamba2_model": {"ssm": "mamba_state", "conv": "mamba_conv"},
}
FP32 = {"logits": 3e-5, "loss": 2e-6, "norm": 2e-5, "state": 1e-5, "gradient": 2e-5}
FP64 = {"logits": 5e-7, "loss": 1e-12, "norm": 1e-10, "state": 2e-7, "gradient": 2e-7}


def build(name: str, dtype: torch.dtype) -> nn.Module:
    model = RWKV6LM(97, 64, 2, 224, 2) if name == "rwkv6_model" else Mamba2LM(97, 64, 32, 32, 2)
    weights = {key: value for key, value in tensors(name).items() if not key.startswith("golden.")}
    model.load_state_dict(weights, strict=True)
    return model.to(dtype)


def expected_states(name: str) -> dict[tuple[int, str], Tensor]:
    data = tensors(name)
    states = {
        (layer, ours): data[f"golden.state.{layer}.{theirs}"]
        for layer in (0, 1)
        for theirs, ours in STATES[name].items()
    }
    # Of the four inputs that are stored, the oldest is never needed again.
    return {key: value[..., 1:] if key[1] == "mamba_conv" else value for key, value in states.items()}


@pytest.mark.parametrize("kernels", ["", "reference"], ids=["fastest", "reference"])
@pytest.mark.parametrize(("dtype", "limits"), [(torch.float32, FP32), (torch.float64, FP64)], ids=["fp32", "fp64"])
@pytest.mark.parametrize("name", STATES)
def test_logits_states_loss_and_gradients(
    name: str, dtype: torch.dtype, limits: dict[str, float], kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GT_KERNELS", kernels)
    data, told = tensors(name), record(name)
    tokens = data["golden.input_ids"]
    model = build(name, dtype)
    logits, states = model(tokens)
    assert float((logits.detach().double() - data["golden.logits"].double()).abs().max()) <= limits["logits"]
    for (layer, part), expected in expected_states(name).items():
        assert relmax(states[layer][part], expected) <= limits["state"], (layer, part)

    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    assert float(loss.detach()) == pytest.approx(told["loss_value"], abs=limits["loss"])
    loss.backward()
    for parameter, tensor in model.named_parameters():
        assert tensor.grad is not None
        norm = float(tensor.grad.double().norm())
        assert norm == pytest.approx(told["parameters"][parameter]["grad_norm"], rel=limits["norm"]), parameter
        stored = data.get(f"golden.grad.{parameter}")
        if stored is not None:
            assert relmax(tensor.grad, stored) <= limits["gradient"], parameter


@pytest.mark.parametrize("sizes", [[1] * 33, [20] + [1] * 13, [16, 1, 16]], ids=["tokens", "prefill", "pieces"])
@pytest.mark.parametrize("name", STATES)
def test_streaming_gives_the_same_logits_and_states(name: str, sizes: list[int]) -> None:
    data, model = tensors(name), build(name, torch.float64)
    states, pieces = None, []
    for piece in data["golden.input_ids"].split(sizes, dim=1):
        logits, states = model(piece, states)
        pieces.append(logits.detach())
    assert float((torch.cat(pieces, 1) - data["golden.logits"].double()).abs().max()) <= FP64["logits"]
    for (layer, part), expected in expected_states(name).items():
        assert relmax(states[layer][part], expected) <= FP64["state"], (layer, part)  # type: ignore[index]


def test_golden_operators_cover_every_recurrence() -> None:
    assert {"wkv6", "ssd"} <= BACKENDS.keys()
