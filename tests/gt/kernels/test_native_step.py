"""Decoding in one call per block or mixer: the numbers of the parallel form, where nothing is passed over."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gt import registry
from gt.kernels import native, native_step
from gt.models.hybrid import HybridLM

pytestmark = pytest.mark.skipif(native.refused("step") is not None, reason=f"no kernels: {native.refused('step')}")


def build(name: str) -> HybridLM:
    torch.manual_seed(0)
    return HybridLM(registry.resolve(name).config(61)).eval()


def decode(model: HybridLM, tokens_BT: Tensor, start: int = 2) -> tuple[Tensor, Any, Any]:
    """Logits of the tokens from `start` on, read one by one; the last state and activations."""
    state = model(tokens_BT[:, :start], return_states=True)[1]
    pieces = []
    for token in tokens_BT[:, start:].split(1, dim=1):
        logits, state, seen = model(token, state=state, return_states=True, return_activations=True)
        pieces.append(logits)
    return torch.cat(pieces, dim=1), state, seen


def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the compiled functions that are called from now on."""
    names: list[str] = []
    run = native_step._call

    def spy(name: str, *arguments: Any) -> None:
        names.append(name)
        run(name, *arguments)

    monkeypatch.setattr(native_step, "_call", spy)
    return names


@pytest.mark.parametrize("batch", [1, 3, 5, 20])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GF-MH@TINY", {"block_step"}),
        ("GF-XR@6M", {"block_step"}),
        ("HY@TINY", {"rwkv6_step", "mamba2_step"}),
        ("RWKV6@TINY", {"rwkv6_step"}),
        ("Mamba2@6M", {"mamba2_step"}),
    ],
)
@torch.no_grad()
def test_token_by_token_equals_the_parallel_form(
    name: str, expected: set[str], batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokens = build(name), torch.randint(61, (batch, 9))
    used = calls(monkeypatch)
    logits, state, seen = decode(model, tokens)
    assert set(used) == expected
    whole, whole_state, whole_seen = model(tokens, return_states=True, return_activations=True)
    torch.testing.assert_close(logits, whole[:, 2:], rtol=1e-4, atol=1e-5)
    for part in state.tensors:
        torch.testing.assert_close(state[part], whole_state[part], rtol=1e-4, atol=1e-5)
    for part in seen:
        torch.testing.assert_close(seen[part], whole_seen[part][:, :, -1:], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_threads_share_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = build("GF-MH@TINY"), torch.randint(61, (33, 4))
    results = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        results.append(decode(model, tokens)[0])
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(results[2], results[0], rtol=1e-5, atol=1e-6)


def test_what_is_hooked_replaced_forced_or_differentiated_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    used = calls(monkeypatch)
    tokens = torch.randint(61, (2, 4))

    def used_by(model: HybridLM) -> set[str]:
        used.clear()
        decode(model, tokens)
        return set(used)

    model = build("GF-MH@TINY")
    assert used_by(model) == set(), "gradients are wanted"
    with torch.no_grad():
        assert used_by(model) == {"block_step"}
        seen: list[Tensor] = []
        handles = [
            block.fusion.gate.register_forward_hook(lambda *call: seen.append(call[2])) for block in model.blocks
        ]
        assert used_by(model) == {"rwkv6_step", "mamba2_step"}
        assert len(seen) == 3 * len(model.blocks)
        for handle in handles:
            handle.remove()
        norm = model.blocks[0].ffn_norm
        norm.forward = lambda x, gate=None: x * 0  # type: ignore[method-assign,assignment]
        assert used_by(model) == {"block_step", "rwkv6_step", "mamba2_step"}
        monkeypatch.setenv("GT_KERNELS", "ssd=reference")
        assert used_by(build("GF-MH@TINY")) == {"rwkv6_step"}
        monkeypatch.setenv("GT_KERNELS", "reference")
        assert used_by(build("GF-MH@TINY")) == set()


@torch.no_grad()
def test_other_dtypes_take_the_parallel_form(monkeypatch: pytest.MonkeyPatch) -> None:
    used = calls(monkeypatch)
    for dtype in (torch.bfloat16, torch.float64):
        decode(build("GF-MH@TINY").to(dtype), torch.randint(61, (2, 4)))
    assert used == []
