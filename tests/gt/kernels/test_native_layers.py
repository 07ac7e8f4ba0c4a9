"""Training in one call per block or mixer: values and gradients of the readable form, where nothing is passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gt import registry
from gt.kernels import native, native_layers
from gt.models.build import build_model
from gt.models.config import ModelConfig
from gt.models.hybrid import Block, HybridLM
from gt.models.mamba2 import Mamba2
from gt.models.rwkv6 import RWKV6TimeMix
from gt.training.optim import next_token_loss
from tests.gt.kernels.compiled import calls_of

pytestmark = pytest.mark.skipif(native.refused("layers") is not None, reason=f"no kernels: {native.refused('layers')}")

calls = partial(calls_of, native_layers)


def config(**changes: Any) -> ModelConfig:
    sizes = {"vocab_size": 61, "num_layers": 2, "hidden_size": 40, "num_heads": 5, "d_state": 12, "mamba_head_dim": 20}
    return ModelConfig(variant="", scale="", **(sizes | {"fusion": "gated", "gate_init": 0.3} | changes))


PARTS: dict[str, Callable[[], nn.Module]] = {
    "block": lambda: Block(config(), 0),
    "block of the size of G3": lambda: Block(
        config(hidden_size=128, num_heads=4, d_state=64, mamba_head_dim=64, num_layers=8), 3
    ),
    "rwkv6": lambda: RWKV6TimeMix(40, 5, 1, 2, 6, 10),
    "mamba2": lambda: Mamba2(40, 12, 20, 2, 4, 2),
    "mamba2 of two groups": lambda: Mamba2(40, 16, 10, 2, 3, 2, num_groups=2),
}


def draw(name: str) -> nn.Module:
    torch.manual_seed(0)
    part = PARTS[name]()
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return part


def build(name: str) -> HybridLM:
    torch.manual_seed(0)
    model: Any = build_model(registry.resolve(name).config(61))
    return model  # type: ignore[no-any-return]


def flat(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    values = [outputs[key] for key in sorted(outputs)] if isinstance(outputs, dict) else outputs
    return [tensor for value in values for tensor in flat(value)]


def values_and_gradients(part: nn.Module, x: Tensor, wanted: slice) -> list[Tensor]:
    """Outputs, states and activations, and the gradients of all of a part through the wanted ones of them."""
    x = x.clone().requires_grad_()
    outputs = flat(part(x, None))
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(out.shape, generator=generator) for out in outputs]
    pairs = list(zip(outputs, weights, strict=True))[wanted]
    total = torch.stack([(out * weight.to(out)).sum() for out, weight in pairs]).sum()
    gradients = torch.autograd.grad(total, [x, *part.parameters()], allow_unused=True)
    return [*(out.detach() for out in outputs), *(x.new_zeros(()) if g is None else g for g in gradients)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 7), (2, 70)])
@pytest.mark.parametrize("wanted", [slice(None), slice(1), slice(1, None)], ids=["all", "the output", "what is seen"])
@pytest.mark.parametrize("name", PARTS)
def test_values_and_gradients_agree_with_fp64(
    name: str, wanted: slice, batch: int, length: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = draw(name)
    x = torch.randn(batch, length, 128 if "G3" in name else 40)
    used = calls(monkeypatch)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        got = values_and_gradients(part, x, wanted)
    finally:
        torch.set_num_threads(before)
    assert len(used) == 2, "one call each way"
    with monkeypatch.context() as patch:
        patch.setattr(native_layers, "usable", lambda *asked: False)
        readable = values_and_gradients(part, x, wanted)
    exact = values_and_gradients(part.double(), x.double(), wanted)
    assert len(used) == 2, "fp64 takes the readable form"
    for a, b, c in zip(got, readable, exact, strict=True):
        # Some gradients are differences of large numbers (through a norm, of one token): fp32 has few digits of them.
        allowed = max(1e-5 * float(c.abs().max().clamp_min(1e-3)), 3 * float((b - c).abs().max()))
        assert float((a - c).abs().max()) <= allowed


@pytest.mark.parametrize("name", sorted(registry.VARIANTS.keys() - {"GPT2"}))
def test_every_variant_learns_what_its_readable_form_learns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = build(f"{name}@TINY"), torch.randint(61, (2, 20))

    def gradients() -> list[Tensor]:
        loss = next_token_loss(model, tokens)
        return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]

    used = calls(monkeypatch)
    got = gradients()
    assert any(called.endswith("_backward") for called in used)
    monkeypatch.setattr(native_layers, "usable", lambda *asked: False)
    for a, b in zip(got, gradients(), strict=True):
        assert float((a - b).abs().max()) <= 1e-4 * float(b.abs().max().clamp_min(1e-5))


@pytest.fixture
def nan_in_new_memory() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("nan_in_new_memory")
@pytest.mark.parametrize("name", PARTS)
def test_what_is_kept_fills_its_memory_and_no_more(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size, guard = f"_{'rwkv6' if name == 'rwkv6' else 'mamba2'}_kept", 64
    counted = getattr(native_layers, size)
    monkeypatch.setattr(native_layers, size, lambda *sizes: counted(*sizes) + guard)
    part = draw(name)
    out: Any = part(torch.randn(3, 5, 128 if "G3" in name else 40, requires_grad=True), None)[0]
    kept = out.grad_fn.saved_tensors[1]
    gradients = torch.autograd.grad(out.sum(), list(part.parameters()))
    assert kept[:-guard].isfinite().all()
    assert kept[-guard:].isnan().all()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_what_is_not_finite_stays_so() -> None:
    for name in PARTS:
        part = draw(name)
        x = torch.randn(2, 7, 128 if "G3" in name else 40)
        x[1, 3] = torch.nan
        out, *gradients = values_and_gradients(part, x, slice(1))
        assert out[1, 3:].isnan().all()
        assert out[0].isfinite().all()
        assert all(g.isnan().any() for g in gradients[-sum(1 for _ in part.parameters()) :])


def test_a_weight_that_changes_between_the_passes_is_noticed() -> None:
    part = draw("block")
    out = part(torch.randn(1, 4, 40), None)[0]
    with torch.no_grad():
        part.get_parameter("ffn.up.weight").mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


MIXERS = {"rwkv6_layer_forward", "mamba2_layer_forward"}


def _hooked(module: str, hook: Callable[..., Any]) -> Callable[[HybridLM], None]:
    return lambda model: hook(model.blocks[0].get_submodule(module))


def _frozen(model: HybridLM) -> None:
    model.get_parameter("blocks.0.rwkv.time_decay").requires_grad_(False)


def _replaced(model: HybridLM) -> None:
    norm = model.blocks[0].ffn_norm
    norm.forward = lambda x, gate=None: x * 0  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda model: None, {"block_forward"}),
        (_replaced, MIXERS),
        (_hooked("fusion.gate", lambda m: m.register_forward_hook(lambda *call: None)), MIXERS),
        (_hooked("ffn.up", lambda m: m.register_full_backward_hook(lambda *call: None)), MIXERS),
        (
            _hooked("mamba.norm", lambda m: m.register_full_backward_pre_hook(lambda *call: None)),
            {"rwkv6_layer_forward"},
        ),
        (_frozen, {"mamba2_layer_forward"}),
    ],
)
def test_what_is_hooked_replaced_or_frozen_is_not_passed_over(
    change: Callable[[HybridLM], None], expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build("GF-MH@TINY")
    model.blocks = model.blocks[:1]
    change(model)
    used = calls(monkeypatch)
    model(torch.randint(61, (2, 4)))
    assert set(used) == expected


def test_what_is_forced_continued_or_of_another_dtype_takes_the_readable_form(monkeypatch: pytest.MonkeyPatch) -> None:
    used = calls(monkeypatch)
    model, tokens = build("GF-MH@TINY"), torch.randint(61, (2, 4))
    with torch.no_grad():
        _, state = model(tokens, return_states=True)
    model(tokens, state=state)
    with torch.autocast("cpu", torch.bfloat16):
        model(tokens)
    build("GF-MH@TINY").bfloat16()(tokens)
    monkeypatch.setenv("GT_KERNELS", "reference")
    model(tokens)
    assert used == []
    monkeypatch.setenv("GT_KERNELS", "ssd=reference")
    model(tokens)
    assert set(used) == {"rwkv6_layer_forward"}


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("name", PARTS)
def test_an_input_of_another_width_is_refused_rather_than_read(name: str, gradients: bool) -> None:
    with torch.set_grad_enabled(gradients), pytest.raises((ValueError, RuntimeError)):
        draw(name)(torch.randn(1, 4, 256), None)


@pytest.mark.parametrize("name", PARTS)
def test_a_weight_of_another_shape_is_not_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    width = 128 if "G3" in name else 40
    used = calls(monkeypatch)
    for weight, value in draw(name).named_parameters():
        part = draw(name)
        owner, _, own = weight.rpartition(".")
        part.get_submodule(owner).register_parameter(own, nn.Parameter(value.detach()[..., :-1].clone()))
        used.clear()
        with suppress(ValueError, RuntimeError, AttributeError):  # the readable form takes a convolution of fewer taps
            part(torch.randn(1, 4, width), None)
        kind = weight.partition(".")[0]
        assert not {"block_forward", f"{kind if 'block' in name else name.partition(' ')[0]}_layer_forward"} & set(used)


@pytest.mark.parametrize("name", PARTS)
def test_an_empty_text_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"no tokens \(T = 0\)"):
        draw(name)(torch.randn(2, 0, 128 if "G3" in name else 40), None)


@pytest.mark.usefixtures("nan_in_new_memory")
@pytest.mark.parametrize("name", PARTS)
def test_an_empty_batch_has_no_gradient(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    part, used = draw(name), calls(monkeypatch)
    out: Any = part(torch.randn(0, 3, 128 if "G3" in name else 40), None)[0]
    gradients = torch.autograd.grad(out.sum(), list(part.parameters()))
    assert len(used) == 2, "one call each way"
    assert all((gradient == 0).all() for gradient in gradients)


@pytest.mark.usefixtures("nan_in_new_memory")
def test_ranks_of_zero_add_nothing() -> None:
    torch.manual_seed(0)
    mixer = RWKV6TimeMix(40, 5, 1, 2, 0, 0)
    x = torch.randn(2, 5, 40)
    torch.testing.assert_close(mixer(x, None)[0], mixer.double()(x.double(), None)[0].float())


@pytest.mark.parametrize(
    "register",
    [
        "register_module_forward_hook",
        "register_module_forward_pre_hook",
        "register_module_full_backward_hook",
        "register_module_full_backward_pre_hook",
    ],
)
def test_a_hook_of_all_modules_sees_the_inner_ones(register: str, monkeypatch: pytest.MonkeyPatch) -> None:
    part, used = draw("block"), calls(monkeypatch)
    seen: list[nn.Module] = []
    handle = getattr(nn.modules.module, register)(lambda module, *passed: seen.append(module))
    try:
        part(torch.randn(1, 4, 40, requires_grad=True), None)[0].sum().backward()
    finally:
        handle.remove()
    assert part.get_submodule("ffn.up") in seen
    assert used == []
    part(torch.randn(1, 4, 40), None)
    assert used == ["block_forward"]


@pytest.mark.parametrize("whole", [True, False], ids=["in one call", "op by op"])
@pytest.mark.parametrize("name", PARTS)
def test_a_second_derivative_is_refused_rather_than_wrong(
    name: str, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, x = draw(name), torch.randn(1, 4, 128 if "G3" in name else 40, requires_grad=True)
    if not whole:
        monkeypatch.setattr(native_layers, "usable", lambda *asked: False)
    with pytest.raises(RuntimeError, match=r"create_graph=True.*GT_KERNELS=reference"):
        torch.autograd.grad(part(x, None)[0].sum(), x, create_graph=True)
    monkeypatch.setenv("GT_KERNELS", "reference")
    (gradient,) = torch.autograd.grad(part(x, None)[0].sum(), x, create_graph=True)
    assert torch.autograd.grad(gradient.square().sum(), x)[0].any()


def test_a_gradient_with_respect_to_a_component_output_needs_the_readable_form(monkeypatch: pytest.MonkeyPatch) -> None:
    part, x = draw("block"), torch.randn(1, 4, 40)
    out, _, seen = part(x, None)
    with pytest.raises(RuntimeError, match="not have been used in the graph"):
        torch.autograd.grad(out.sum(), seen["rwkv_out"])
    monkeypatch.setenv("GT_KERNELS", "reference")
    out, _, seen = part(x, None)
    assert torch.autograd.grad(out.sum(), seen["rwkv_out"])[0].any()
