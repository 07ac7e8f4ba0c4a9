"""The Triton kernels between the recurrences: on a GPU, or in Triton's interpreter."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gt.kernels import BACKENDS, fused
from tests.gt.kernels.interpreted import DEVICE  # before fused_triton: it sets up the interpreter
from tests.gt.kernels.test_fused import CASES, draw, floating

from gt.kernels import fused_triton  # isort: skip

LARGER: dict[str, Any] = {
    "token_mix": lambda: [*torch.randn(2, 3, 23, 128), torch.randn(5, 128), torch.randn(5, 3, 23, 128)],
    "rms_norm": lambda: [torch.randn(3, 23, 192), torch.randn(192), 1e-5],
    "rms_norm gated": lambda: [torch.randn(40, 2, 256), torch.randn(256), 1e-5, torch.randn(40, 2, 300)[..., :256]],
    "gated_group_norm": lambda: [
        *(torch.randn(3, 23, 128), torch.randn(128), torch.randn(128), 4, 64e-5, 4 * torch.randn(3, 23, 128))
    ],
    "cross_entropy": lambda: [5 * torch.randn(7, 4500), torch.randint(0, 4500, (7,))],
    "cross_entropy weighted": lambda: [
        *(5 * torch.randn(7, 4500), torch.randint(0, 4500, (7,)), torch.tensor([0, 3, 1, 0, 16, 4, 1]))
    ],
}
DRAWS = {case: lambda case=case: draw(case) for case in CASES} | {f"{case} larger": f for case, f in LARGER.items()}


def compared(case: str, dtype: torch.dtype) -> dict[str, float]:
    """Largest error of the value and of each gradient against fp64, relative to the largest value."""
    name = case.split()[0]
    torch.manual_seed(0)
    inputs = [t.to(dtype) if floating(t) else t for t in DRAWS[case]()]
    results = []
    for op, device, exact in ((getattr(fused, name), "cpu", True), (getattr(fused_triton, name), DEVICE, False)):
        moved = [t.to(device) if isinstance(t, torch.Tensor) else t for t in inputs]
        leaves = [(t.double() if exact else t).detach().requires_grad_() if floating(t) else t for t in moved]
        out = op(*leaves)
        torch.manual_seed(1)
        weight = torch.randn(out.shape).to(out)
        gradients = torch.autograd.grad(out, [leaf for leaf in leaves if floating(leaf)], weight)
        results.append([t.detach().cpu().double() for t in (out, *gradients)])
    pairs = zip(*results, strict=True)
    return {str(i): float((got - wanted).abs().max() / wanted.abs().max()) for i, (wanted, got) in enumerate(pairs)}


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2)], ids=str)
@pytest.mark.parametrize("case", DRAWS)
def test_values_and_gradients_agree_with_fp64(
    case: str, dtype: torch.dtype, limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_triton, "PROGRAMS", 2)  # so that each takes several turns
    found = compared(case, dtype)
    assert {name: error for name, error in found.items() if not error <= limit} == {}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of the interpreter
def test_cross_entropy_of_extreme_logits() -> None:
    def run(logits: torch.Tensor, *targets: int) -> float:
        return float(fused_triton.cross_entropy(logits.to(DEVICE), torch.tensor(targets, device=DEVICE)))

    logits = torch.tensor([[1e4, -1e4, 0.0], [-300.0, -300.0, -300.0]])
    assert run(logits, 0, 2) == pytest.approx(torch.log(torch.tensor(3.0)).item() / 2)
    assert run(logits, 1, 2) == pytest.approx((2e4 + 1.0986123) / 2)
    masked = torch.tensor([[0.0, -torch.inf, 0.0]])
    assert run(masked, 0) == pytest.approx(0.6931472)
    assert torch.isnan(torch.tensor(run(torch.tensor([[0.0, torch.nan]]), 0)))
    assert not torch.isfinite(torch.tensor(run(torch.full((1, 16), torch.inf), 0)))


def test_every_function_has_a_row() -> None:
    for op in ("token_mix", "rms_norm", "gated_group_norm", "cross_entropy"):
        assert any(b.name == "triton" and b.run is getattr(fused_triton, op) for b in BACKENDS[op])
