"""The loss and gradients of a model in one call: those of its readable form, which runs wherever one is waited for."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gt.kernels import native, native_model
from gt.models.config import ModelConfig
from gt.models.hybrid import HybridLM
from gt.training import optim
from gt.training.optim import loss_and_gradients, next_token_loss

pytestmark = pytest.mark.skipif(native.refused("model") is not None, reason=f"no kernels: {native.refused('model')}")

SIZES: dict[str, int] = {"num_layers": 2, "hidden_size": 40, "num_heads": 5, "d_state": 12, "mamba_head_dim": 20}


def build(vocab_size: int = 61, **sizes: int) -> HybridLM:
    torch.manual_seed(0)
    config: Any = {"fusion": "gated", "gate_init": 0.3, "vocab_size": vocab_size, **SIZES, **sizes}
    model = HybridLM(ModelConfig(variant="", scale="", **config))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def gradients(model: nn.Module) -> list[Tensor]:
    return [torch.zeros(()) if p.grad is None else p.grad.clone() for p in model.parameters()]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every call of the compiled function."""
    made: list[int] = []
    find = native_model._function

    def spy(types: tuple[type, ...]) -> Callable[..., None]:
        run = find(types)
        return lambda *arguments: (made.append(1), run(*arguments))[1]

    monkeypatch.setattr(native_model, "_function", spy)
    return made


@pytest.mark.parametrize(("threads", "halves"), [(1, True), (2, True), (1, False), (2, False)])
@pytest.mark.parametrize(
    ("vocab_size", "batch", "length", "sizes"),
    [
        (61, 1, 1, {}),
        (61, 3, 7, {}),
        (256, 2, 70, {"num_layers": 1}),
        (600, 5, 70, {"num_layers": 3}),
        (300, 4, 64, {"hidden_size": 128, "num_heads": 4, "d_state": 64, "mamba_head_dim": 64}),
    ],
)
def test_loss_and_gradients_agree_with_fp64(
    calls: list[int], vocab_size: int, batch: int, length: int, sizes: dict[str, int], threads: int, halves: bool
) -> None:
    model, tokens = build(vocab_size, **sizes), torch.randint(vocab_size, (batch, length + 1))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        loss = loss_and_gradients(model, tokens, halves)
    finally:
        torch.set_num_threads(before)
    got = [loss, *gradients(model)]
    assert calls == [1]
    readable = next_token_loss(model, tokens)
    readables = [readable.detach(), *torch.autograd.grad(readable, list(model.parameters()), materialize_grads=True)]
    whole = deepcopy(model).double()
    exact = next_token_loss(whole, tokens)
    for a, b, c in zip(
        got,
        readables,
        [exact.detach(), *torch.autograd.grad(exact, list(whole.parameters()), materialize_grads=True)],
        strict=True,
    ):
        # Some gradients are differences of large numbers (through a norm, of one token): fp32 has few digits of them.
        allowed = max(1e-5 * float(c.abs().max().clamp_min(1e-3)), 3 * float((b - c).abs().max()))
        assert float((a - c).abs().max()) <= allowed


@pytest.mark.parametrize("size", [1e3, 1e5])
def test_logits_far_from_zero_lose_no_digits(calls: list[int], size: float) -> None:
    model, tokens = build(600), torch.randint(600, (4, 20))
    with torch.no_grad():
        model.norm.weight.mul_(size)
    loss = loss_and_gradients(model, tokens)
    assert calls
    assert float(loss) == pytest.approx(float(next_token_loss(deepcopy(model).double(), tokens).detach()), rel=1e-5)


def test_what_is_not_a_number_reaches_the_loss(calls: list[int]) -> None:
    model, tokens = build(600), torch.randint(600, (4, 20))
    with torch.no_grad():
        model.blocks[1].get_submodule("ffn.down").weight[3, 5] = math.nan
    assert math.isnan(float(loss_and_gradients(model, tokens)))
    assert calls
    assert all(bool(p.grad.isnan().any()) for p in model.parameters() if p.grad is not None and p is not model.norm)


def test_what_is_needed_fills_its_memory_and_no_more(monkeypatch: pytest.MonkeyPatch, calls: list[int]) -> None:
    guard, room = 64, native_model._room
    sizes: list[int] = []

    def guarded(*arguments: int) -> tuple[int, int]:
        kept, needed = room(*arguments)
        sizes.append(needed)
        return kept, needed + guard

    monkeypatch.setattr(native_model, "_room", guarded)
    model, tokens = build(), torch.randint(61, (5, 9))
    count = sum(parameter.numel() for parameter in model.parameters())
    native_model._work[model] = torch.full((2 * (sizes_of_a_part(room, model, 3, 8) + guard) + count,), math.nan)
    loss_and_gradients(model, tokens)
    assert calls
    work = native_model._work[model][:-count].view(2, -1)
    assert work[:, sizes[0] :].isnan().all()
    assert work[0, : sizes[0]].isfinite().all(), "of the part with as many sequences as there can be"


def sizes_of_a_part(room: Callable[..., tuple[int, int]], model: HybridLM, batch: int, length: int) -> int:
    blocks = native_model.native_layers.alike(model.blocks, 40)
    assert blocks is not None
    return room(batch, length, 40, len(model.blocks), 61, torch.get_num_threads(), *blocks[0])[1]


def test_gradients_of_one_call_outlive_the_next_and_memory_goes_with_the_model(calls: list[int]) -> None:
    model = build()
    first, second = torch.randint(61, (2, 4, 9))
    loss_and_gradients(model, first)
    kept = [(parameter.grad, parameter.grad.clone()) for parameter in model.parameters() if parameter.grad is not None]
    loss_and_gradients(model, second)
    assert calls == [1, 1]
    assert all(torch.equal(one, copy) for one, copy in kept)
    assert model in native_model._work
    work = weakref.ref(native_model._work[model])
    del model, kept
    gc.collect()
    assert work() is None


def hook_output(model: HybridLM) -> None:
    model.norm.register_forward_hook(lambda module, inputs, out: 2 * out)


def hook_gradient(model: HybridLM) -> None:
    model.blocks[0].get_submodule("ffn.up").weight.register_hook(lambda gradient: 3 * gradient)


def hook_backward(model: HybridLM) -> None:
    model.blocks[1].register_full_backward_hook(lambda module, into, out: (2 * into[0], *into[1:]))


def hook_model(model: HybridLM) -> None:
    model.register_forward_hook(lambda module, inputs, out: 2 * out)


def wrap_block(model: HybridLM) -> None:
    mixer = model.blocks[0].get_submodule("rwkv")
    forward = mixer.forward
    mixer.forward = lambda x, state: (forward(x, state)[0] * 0, forward(x, state)[1])  # type: ignore[method-assign]


def wrap_model(model: HybridLM) -> None:
    forward = model.forward
    model.forward = lambda tokens: 2 * forward(tokens)  # type: ignore[method-assign, assignment, operator]


def wrap_head(model: HybridLM) -> None:
    read_out = model.read_out
    model.read_out = lambda x: 2 * read_out(x)  # type: ignore[method-assign]


def another_eps(model: HybridLM) -> None:
    model.blocks[1].get_submodule("rwkv.ln_x").eps = 1.0  # type: ignore[assignment]


def clipped_embedding(model: HybridLM) -> None:
    model.embedding.scale_grad_by_freq = True


@pytest.mark.parametrize(
    "change",
    [
        *(hook_output, hook_gradient, hook_backward, hook_model, wrap_block, wrap_model, wrap_head, another_eps),
        clipped_embedding,
    ],
)
def test_whoever_waits_for_a_part_is_asked(calls: list[int], change: Callable[[HybridLM], None]) -> None:
    model, tokens = build(), torch.randint(61, (2, 9))
    loss = loss_and_gradients(model, tokens)
    assert calls == [1]
    whole = [loss, *gradients(model)]
    change(model)
    loss = loss_and_gradients(model, tokens, halves=False)
    assert calls == [1]
    model.zero_grad()
    got = [loss, *gradients(model)]
    assert any(not torch.allclose(a, b) for a, b in zip(whole, got, strict=True))


def test_a_frozen_parameter_keeps_no_gradient_and_an_unused_one_gets_none(calls: list[int]) -> None:
    model, tokens = build(), torch.randint(61, (2, 9))
    model.register_parameter("unused", nn.Parameter(torch.ones(3)))
    loss_and_gradients(model, tokens)
    assert calls == [1]
    assert model.get_parameter("unused").grad is None
    model.embedding.weight.requires_grad_(False)
    loss_and_gradients(model, tokens)
    assert calls == [1]
    assert model.embedding.weight.grad is None


def test_a_replaced_loss_a_forced_kernel_and_autocast_stay_in_charge(
    calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokens = build(), torch.randint(61, (2, 9))
    with monkeypatch.context() as patch:
        patch.setattr(optim, "next_token_loss", lambda model, tokens: 2 * next_token_loss(model, tokens))
        loss = loss_and_gradients(model, tokens)
    assert float(loss) == pytest.approx(2 * float(next_token_loss(model, tokens).detach()), rel=1e-6)
    for op in ("wkv6", "cross_entropy"):
        with monkeypatch.context() as patch:
            patch.setenv("GT_KERNELS", f"{op}=reference")
            loss_and_gradients(model, tokens)
    with torch.autocast("cpu", torch.bfloat16):
        loss_and_gradients(model, tokens)
    loss_and_gradients(deepcopy(model).double(), tokens)
    assert not calls


@pytest.mark.parametrize("token", [-1, 61])
def test_a_token_that_does_not_exist_is_an_error(calls: list[int], token: int) -> None:
    for place in (0, 2):  # read, and to be told
        tokens = torch.ones(1, 3, dtype=torch.int64)
        tokens[0, place] = token
        with pytest.raises((IndexError, ValueError)):
            loss_and_gradients(build(), tokens)
    assert not calls
