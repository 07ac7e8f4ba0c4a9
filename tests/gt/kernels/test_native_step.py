"""Decoding in one call per model or mixer: the numbers of the parallel form, where nothing is passed over."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from gt import registry
from gt.kernels import native, native_step
from gt.models.build import build_model
from gt.models.hybrid import FeedForward, HybridLM
from gt.models.rwkv6 import RWKV6TimeMix
from tests.gt.kernels.compiled import calls_of

pytestmark = pytest.mark.skipif(native.refused("step") is not None, reason=f"no kernels: {native.refused('step')}")

calls = partial(calls_of, native_step)


def build(name: str) -> HybridLM:
    torch.manual_seed(0)
    model: Any = build_model(registry.resolve(name).config(61)).eval()
    return model  # type: ignore[no-any-return]


def decode(model: HybridLM, tokens_BT: Tensor, start: int = 2) -> tuple[Tensor, Any, Any]:
    """Logits of the tokens from `start` on, read one by one; the last state and activations."""
    state = model(tokens_BT[:, :start], return_states=True)[1]
    pieces = []
    for token in tokens_BT[:, start:].split(1, dim=1):
        logits, state, seen = model(token, state=state, return_states=True, return_activations=True)
        pieces.append(logits)
    return torch.cat(pieces, dim=1), state, seen


@pytest.mark.parametrize("batch", [1, 3, 5, 20])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GF-MH@TINY", {"blocks_step"}),
        ("GF-XR@6M", {"blocks_step"}),
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


@pytest.mark.parametrize("name", sorted(registry.VARIANTS))
@torch.no_grad()
def test_every_variant_decodes_as_it_reads_whatever_its_weights(name: str) -> None:
    model, tokens = build(f"{name}@TINY"), torch.randint(61, (3, 9))
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    logits, _, seen = decode(model, tokens)
    whole, whole_seen = model(tokens, return_activations=True)
    assert float((logits - whole[:, 2:]).abs().max() / whole.abs().max()) < 1e-4
    for part in seen:
        torch.testing.assert_close(seen[part], whole_seen[part][:, :, -1:], rtol=1e-3, atol=1e-4)


def _of_another_batch(model: HybridLM) -> Any:
    return model(torch.randint(61, (2, 3)), return_states=True)[1]


def _of_another_scale(model: HybridLM) -> Any:
    return build("GF-MH@3.5M")(torch.randint(61, (5, 3)), return_states=True)[1]


@pytest.mark.parametrize("name", ["GF-MH@TINY", "RWKV6@TINY", "Mamba2@TINY"])
@pytest.mark.parametrize("foreign", [_of_another_batch, _of_another_scale])
@torch.no_grad()
def test_a_state_that_does_not_fit_is_refused_rather_than_read(name: str, foreign: Any) -> None:
    model = build(name)
    state = foreign(model)
    with pytest.raises((ValueError, RuntimeError, KeyError)):
        model(torch.randint(61, (5, 1)), state=state)


@pytest.mark.parametrize("name", ["GF-MH@TINY", "RWKV6@TINY", "Mamba2@TINY"])
@torch.no_grad()
def test_an_input_of_another_width_is_refused_though_the_state_fits_it(name: str) -> None:
    model, x = build(name), torch.randn(5, 1, 128)
    block: Any = model.blocks[0]
    mixers = [mixer for mixer in (block.rwkv, block.mamba) if mixer is not None]
    state: dict[str, Tensor] = {}
    for mixer in mixers:
        of_mixer = native_step._rwkv6_shapes if mixer is block.rwkv else native_step._mamba2_shapes
        state |= {part: torch.zeros(shape) for part, shape in of_mixer(mixer, x) or ()}
    for read in (*mixers, lambda x, state: model.run_blocks(x, [state] * len(model.blocks))):
        with pytest.raises((ValueError, RuntimeError)):
            read(x, state)


@pytest.mark.parametrize("name", ["GF-MH@TINY", "RWKV6@TINY", "Mamba2@TINY"])
@torch.no_grad()
def test_what_lies_differently_in_memory_takes_the_readable_form(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = build(name), torch.randint(61, (3, 4))
    expected = decode(model, tokens)[0]
    used = calls(monkeypatch)
    state = model(tokens[:, :3], return_states=True)[1].map(Tensor.bfloat16)
    assert model(tokens[:, 3:], state=state).isfinite().all()
    for block in model.blocks:
        for linear in (block.rwkv.key if block.rwkv else None, block.mamba.in_proj if block.mamba else None):
            if linear is not None:
                linear.weight.set_(linear.weight.t().contiguous().t())
    torch.testing.assert_close(decode(model, tokens)[0], expected, rtol=1e-4, atol=1e-5)
    assert used == []


@pytest.mark.parametrize(("lora_mix", "lora_decay"), [(12, 20), (32, 12), (8, 8)])
@torch.no_grad()
def test_ranks_of_any_size(lora_mix: int, lora_decay: int) -> None:
    torch.manual_seed(0)
    mixer = RWKV6TimeMix(64, 2, 0, 2, lora_mix, lora_decay)
    for parameter in mixer.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    x = torch.randn(2, 6, 64)
    whole = mixer(x, None)[0]
    state = mixer(x[:, :5], None)[1]
    torch.testing.assert_close(mixer(x[:, 5:], state)[0], whole[:, 5:], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_layer_that_computes_more_is_not_passed_over() -> None:
    class Doubled(torch.nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    for change in (Doubled(64, 256, bias=False), torch.nn.Linear(64, 256), torch.nn.utils.parametrizations.weight_norm):
        model, tokens = build("GF-MH@TINY"), torch.randint(61, (2, 4))
        decode(model, tokens)
        ffn = model.blocks[1].ffn
        ffn.up = change if isinstance(change, torch.nn.Module) else change(ffn.up)
        torch.testing.assert_close(decode(model, tokens)[0], model(tokens)[:, 2:], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_layers_of_different_sizes_are_not_read_as_one() -> None:
    model, tokens = build("GF-MH@TINY"), torch.randint(61, (2, 4))
    decode(model, tokens)
    model.blocks[1].ffn = FeedForward(64, 2)
    torch.testing.assert_close(decode(model, tokens)[0], model(tokens)[:, 2:], rtol=1e-4, atol=1e-5)


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
        assert used_by(model) == {"blocks_step"}
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
        assert used_by(model) == {"rwkv6_step", "mamba2_step"}
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
