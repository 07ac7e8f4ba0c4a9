"""The Triton kernels of WKV6 without a GPU, in Triton's interpreter: every formula, at sizes that it can bear."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gt.kernels import reference
from tests.golden import record, relmax, tensors
from tests.gt.kernels.interpreted import DEVICE  # before wkv6_triton: it sets up the interpreter
from tests.gt.kernels.test_ops import INPUTS, with_gradients

from gt.kernels import wkv6_triton  # isort: skip

CASES = {case["name"]: case["case"] for case in record("wkv6_op")["cases"]}
FP32 = 3e-6 if DEVICE == "cpu" else 3e-5  # the interpreter multiplies in fp32, a GPU in three TF32 products
# What is computed of chunks that decay too much, before they are computed exactly, overflows.
OVERFLOWS = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
NAMES = ("y", "state", "r", "k", "v", "w", "u", "s0")


def compared(inputs: list[Tensor], weights: tuple[Tensor, Tensor]) -> dict[str, float]:
    expected = with_gradients(reference.wkv6, [t.double() for t in inputs], weights)
    got = with_gradients(wkv6_triton.wkv6, [t.to(DEVICE) for t in inputs], weights)
    return {name: relmax(g.cpu(), e) for name, g, e in zip(NAMES, got, expected, strict=True)}


def above(limit: float, found: dict[str, float]) -> dict[str, float]:
    return {name: error for name, error in found.items() if not error <= limit}


def drawn(B: int, T: int, H: int, K: int, V: int, dtype: torch.dtype) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    r, k, v = (torch.randn(B, T, H, size).to(dtype) for size in (K, K, V))
    w = -torch.exp(torch.empty(B, T, H, K).uniform_(-9, 3))
    inputs = [r, k, v, w, torch.randn(H, K), torch.randn(B, H, K, V)]
    return inputs, (torch.randn(B, T, H, V), torch.randn(B, H, K, V))


@pytest.mark.parametrize("name", ["t1_state", "t7_zero", "t64_strong_state", "t130_mixed_state", "t130_weak_state"])
def test_golden_values_states_and_gradients(name: str) -> None:
    data = {part: tensors("wkv6_op")[f"{CASES[name]}.{part}"] for part in (*INPUTS["wkv6"], "gy", "gs")}
    found = compared([data[part] for part in INPUTS["wkv6"]], (data["gy"], data["gs"]))
    assert above(FP32, found) == {}


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, FP32), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_every_dtype_and_heads_of_any_size(dtype: torch.dtype, limit: float) -> None:
    found = compared(*drawn(1, 41, 2, 70, 24, dtype))
    assert above(limit, found) == {}
    # On a GPU fp16 products are in TF32, the one rounding on the way into the state.
    limit = 1e-3 if dtype == torch.float16 and DEVICE == "cuda" else 3e-5
    assert found["state"] < limit, "the state is not kept in fp32"


@OVERFLOWS
@pytest.mark.parametrize("walks", [1, 1000], ids=["walk", "scan"])
@pytest.mark.parametrize("strongest", [1.2, 3.0], ids=["gentle", "some-strong"])
def test_chunks_that_decay_little_and_those_that_do_not(
    strongest: float, walks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wkv6_triton, "WALKS", walks)
    inputs, weights = drawn(1, 67, 1, 24, 40, torch.bfloat16)
    inputs[3] = -torch.exp(torch.empty_like(inputs[3]).uniform_(-6, 1))
    inputs[3][:, 5, :, 3] = -300.0
    inputs[3][:, 32:42] = -math.exp(strongest)
    found = compared(inputs, weights)
    assert above(3e-2, found) == {}
    assert found["state"] < 3e-5, "the state is not kept in fp32"


@OVERFLOWS
@pytest.mark.parametrize("length", [33, 38], ids=["one-more", "six-more"])  # tokens of a last chunk that decays little
def test_chunks_of_strong_decays_are_exact(length: int) -> None:
    inputs, weights = drawn(1, length, 2, 16, 16, torch.bfloat16)
    inputs[3] = torch.full_like(inputs[3], -12.0)
    found = compared(inputs, weights)
    assert above(3e-2, found) == {}, "a gradient of the decay is a difference of what cancels"


@pytest.mark.parametrize("decay", [0.0, -12.0, -55.0, -3e38], ids=str)
def test_extreme_decays_are_exact(decay: float) -> None:
    inputs, weights = drawn(1, 33, 1, 16, 16, torch.float32)
    inputs[3] = torch.full_like(inputs[3], decay)
    found = compared(inputs, weights)
    if decay <= -55:
        found.pop("w")  # below 1e-12, where relative errors say nothing
    assert above(FP32, found) == {}


def test_a_state_that_is_left_out_is_zero() -> None:
    inputs, _ = drawn(1, 20, 1, 16, 16, torch.float32)
    inputs = [t.to(DEVICE) for t in inputs]
    for without, given in zip(
        wkv6_triton.wkv6(*inputs[:-1]), wkv6_triton.wkv6(*inputs[:-1], torch.zeros_like(inputs[-1])), strict=True
    ):
        assert torch.equal(without, given)


@pytest.mark.parametrize("output", [0, 1])
def test_gradients_of_one_output_alone(output: int) -> None:
    inputs, _ = drawn(1, 20, 1, 16, 16, torch.float32)
    expected, leaves = ([t.clone().to(d).requires_grad_() for t in inputs] for d in (torch.float64, torch.float32))
    reference.wkv6(*expected)[output].sum().backward()
    wkv6_triton.wkv6(*(t.to(DEVICE) for t in leaves))[output].sum().backward()
    for leaf, wanted in zip(leaves, expected, strict=True):
        want, got = (torch.zeros_like(t) if t.grad is None else t.grad for t in (wanted, leaf))
        assert relmax(got, want) < FP32
