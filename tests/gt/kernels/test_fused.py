"""The functions between the recurrences: every backend against fp64, values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gt import kernels
from gt.kernels import BACKENDS, Backend

CASES: dict[str, Callable[[], list[Any]]] = {
    "token_mix": lambda: [torch.randn(2, 7, 12), torch.randn(2, 7, 12), torch.randn(5, 12), torch.randn(5, 2, 7, 12)],
    "rms_norm": lambda: [torch.randn(3, 5, 20), torch.randn(20), 1e-5],
    "rms_norm gated": lambda: [torch.randn(3, 5, 20), torch.randn(20), 1e-5, 4 * torch.randn(3, 5, 20)],
    "gated_group_norm": lambda: [
        *(torch.randn(3, 5, 24), torch.randn(24), torch.randn(24), 4, 64e-5, 4 * torch.randn(3, 5, 24))
    ],
    "cross_entropy": lambda: [5 * torch.randn(6, 19), torch.randint(0, 19, (6,))],
    # Weights are whole numbers so that no gradient is asked of them.
    "cross_entropy weighted": lambda: [
        *(5 * torch.randn(6, 19), torch.randint(0, 19, (6,)), torch.tensor([0, 3, 1, 0, 16, 4]))
    ],
}
ALL = [
    pytest.param(case, backend, id=f"{case}-{backend.name}") for case in CASES for backend in BACKENDS[case.split()[0]]
]


def draw(case: str) -> list[Any]:
    torch.manual_seed(0)
    return CASES[case]()


def floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def values_and_gradients(op: Callable[..., Tensor], inputs: list[Any], dtype: torch.dtype) -> list[Tensor]:
    leaves = [t.to(dtype).requires_grad_() if floating(t) else t for t in inputs]
    out = op(*leaves)
    torch.manual_seed(1)
    weight = torch.randn(out.shape)
    gradients = torch.autograd.grad((out * weight.to(out)).sum(), [leaf for leaf in leaves if floating(leaf)])
    return [out.detach(), *gradients]


def op_of(case: str, backend: Backend) -> Callable[..., Tensor]:
    refusal = backend.unavailable("cpu")
    if refusal is not None:
        pytest.skip(f"{case} {backend.name}: {refusal}")
    public = getattr(kernels, case.split()[0])
    return lambda *inputs: public(*inputs, backend=backend.name)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("case", "backend"), ALL)
def test_values_and_gradients_agree_with_fp64(case: str, backend: Backend, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        got = values_and_gradients(op_of(case, backend), draw(case), torch.float32)
    finally:
        torch.set_num_threads(before)
    expected = values_and_gradients(op_of(case, BACKENDS[case.split()[0]][-1]), draw(case), torch.float64)
    for a, b in zip(got, expected, strict=True):
        assert float((a - b).abs().max() / b.abs().max()) <= 2e-6


@pytest.mark.parametrize(("case", "backend"), ALL)
def test_bf16_in_bf16_out(case: str, backend: Backend) -> None:
    inputs = [t.bfloat16() if isinstance(t, Tensor) and t.is_floating_point() else t for t in draw(case)]
    out = op_of(case, backend)(*inputs)
    exact = op_of(case, backend)(
        *(t.double() if isinstance(t, Tensor) and t.is_floating_point() else t for t in inputs)
    )
    assert out.dtype == (torch.float32 if case.startswith("cross_entropy") else torch.bfloat16)
    assert float((out.double() - exact).abs().max() / exact.abs().max()) <= 2e-2


@pytest.mark.parametrize("backend", BACKENDS["cross_entropy"], ids=lambda backend: backend.name)
def test_cross_entropy_of_extreme_logits(backend: Backend) -> None:
    run = op_of("cross_entropy", backend)
    logits = torch.tensor([[1e4, -1e4, 0.0], [-300.0, -300.0, -300.0]])
    assert float(run(logits, torch.tensor([0, 2]))) == pytest.approx(torch.log(torch.tensor(3.0)).item() / 2)
    assert float(run(logits, torch.tensor([1, 2]))) == pytest.approx((2e4 + 1.0986123) / 2)
    assert torch.isnan(run(torch.tensor([[0.0, torch.nan]]), torch.tensor([0])))
    assert torch.isnan(run(torch.tensor([[torch.nan] * 9]), torch.tensor([0])))
    assert not torch.isfinite(run(torch.full((1, 16), torch.inf), torch.tensor([0])))


@pytest.mark.parametrize("backend", BACKENDS["cross_entropy"], ids=lambda backend: backend.name)
def test_equal_weights_are_the_mean_and_no_weight_is_nothing(backend: Backend) -> None:
    run = op_of("cross_entropy", backend)
    logits, targets = draw("cross_entropy")
    assert float(run(logits, targets, torch.full((6,), 0.5))) == pytest.approx(float(run(logits, targets)))
    assert float(run(logits, targets, torch.eye(6)[2])) == pytest.approx(float(run(logits[2:3], targets[2:3])))
    leaf = logits.requires_grad_()
    nothing = run(leaf, targets, torch.zeros(6))
    nothing.backward()
    assert (float(nothing.detach()), int(leaf.grad.count_nonzero())) == (0.0, 0)


def test_views_that_are_not_contiguous() -> None:
    x = torch.randn(4, 6, 16)[:, ::2, ::2]
    gate = torch.randn(8, 3, 4).permute(2, 1, 0)
    expected = kernels.rms_norm(x.contiguous(), torch.ones(8), 1e-5, gate.contiguous(), backend="reference")
    torch.testing.assert_close(kernels.rms_norm(x, torch.ones(8), 1e-5, gate), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernels.token_mix(*(torch.ones(1, 2, 3),) * 2, torch.ones(5, 3), torch.ones(4, 1, 2, 3)), "shares"),
        (lambda: kernels.rms_norm(torch.ones(2, 3), torch.ones(4), 1e-5), "weight"),
        (lambda: kernels.rms_norm(torch.ones(2, 3), torch.ones(3), 1e-5, torch.ones(2, 2)), "gate"),
        (
            lambda: kernels.gated_group_norm(torch.ones(2, 6), torch.ones(6), torch.ones(6), 4, 1e-5, torch.ones(2, 6)),
            "6 channels cannot be normalised in 4 groups",
        ),
        (lambda: kernels.cross_entropy(torch.ones(2, 3), torch.zeros(3, dtype=torch.long)), "targets"),
        (lambda: kernels.cross_entropy(torch.ones(1, 3), torch.zeros(1, dtype=torch.int32)), "int64"),
        (lambda: kernels.cross_entropy(torch.ones(1, 3), torch.zeros(1, dtype=torch.long), torch.ones(2)), "weights"),
        (lambda: kernels.cross_entropy(torch.ones(0, 3), torch.zeros(0, dtype=torch.long)), "no predictions"),
    ],
)
def test_wrong_shapes_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("target", [-100, -1, 3, 10**6])
@pytest.mark.parametrize("backend", BACKENDS["cross_entropy"][:1], ids=lambda backend: backend.name)
def test_a_target_outside_the_vocabulary_is_refused(backend: Backend, target: int) -> None:
    with pytest.raises(ValueError, match="expected token ids from 0 to 2"):
        op_of("cross_entropy", backend)(torch.ones(2, 3), torch.tensor([0, target]))
