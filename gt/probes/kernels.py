"""G0: does every op run on the fastest backend of the device, and does that agree with the reference?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gt.kernels import reference, resolve
from gt.measurement import Measurement, measured
from gt.probes.compare import relative_error, worst

if TYPE_CHECKING:
    from gt.subject import Subject

BATCH, LENGTH = 2, 70  # a length that is no multiple of a chunk
INPUTS = {
    "wkv6": ("r", "k", "v", "w", "u", "state"),
    "ssd": ("x", "dt", "A", "B", "C", "D", "state"),
    "causal_conv1d": ("x", "weight", "bias", "state"),
}
REFERENCES = {"wkv6": reference.wkv6, "ssd": reference.ssd, "causal_conv1d": reference.causal_conv1d}


def resolution_and_agreement(subject: Subject) -> tuple[Measurement, ...]:
    """Resolve each op that the model uses, and compare it with the fp64 reference at the model's own head sizes.

    Outputs, final states and the gradients of all inputs are compared; an error counts relative to the tolerance of
    the backend (`gt.kernels.BACKENDS`). Source: checks.md G0 [S].
    """
    ops = subject.ops
    fastest: list[bool] = []
    ratios: dict[str, float] = {}
    detail: dict[str, Any] = {}
    slower: list[str] = []
    for op in ops:
        try:
            resolution = resolve(op, subject.device.type)
        except ValueError as error:
            detail[op] = {"backend": None, "reason": str(error)}
            continue
        errors = _errors(op, resolution.backend.run, subject.config, subject.device, subject.seed)
        name, error_value = worst(errors)
        ratios[f"{op} {name}"] = error_value / resolution.backend.tolerance
        fastest.append(resolution.fastest)
        detail[op] = {"backend": resolution.backend.name, "reason": resolution.reason, "worst_error": error_value}
        if not resolution.fastest:
            slower.append(f"{op} runs on {resolution.backend.name} ({resolution.reason})")
    where, ratio = worst(ratios) if ratios else ("nothing resolved", float("nan"))
    return (
        measured("ops_resolved", len(ratios) / len(ops), n=len(ops), detail=detail),
        measured("ops_fastest", sum(fastest) / len(ops), n=len(ops), note="; ".join(slower)),
        measured("worst_error_ratio", ratio, unit="tolerances", note=f"worst: {where}"),
    )


def _inputs(op: str, config: Any, seed: int) -> list[Tensor]:
    """Random inputs at the head sizes of a model that runs on the op, in fp64 on the CPU; decays weak to strong."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def log_uniform(low: float, high: float, *shape: int) -> Tensor:
        share = torch.rand(*shape, generator=generator, dtype=torch.float64)
        return torch.exp(torch.tensor(low).log() + share * (torch.tensor(high) / low).log())

    if op == "wkv6":
        H, K = config.num_heads, config.head_dim
        r, k, v = (normal(BATCH, LENGTH, H, K) for _ in range(3))
        return [r, k, v, -log_uniform(1e-4, 20.0, BATCH, LENGTH, H, K), normal(H, K), normal(BATCH, H, K, K)]
    if op == "ssd":
        H, P, N = config.mamba_heads, config.mamba_head_dim, config.d_state
        dt, A = log_uniform(1e-3, 0.3, BATCH, LENGTH, H), -log_uniform(1.0, 16.0, H)
        Bm, Cm = (normal(BATCH, LENGTH, config.num_groups, N) for _ in range(2))
        return [normal(BATCH, LENGTH, H, P), dt, A, Bm, Cm, normal(H), normal(BATCH, H, P, N)]
    D, W = config.conv_dim, config.conv_width
    return [normal(BATCH, LENGTH, D), normal(D, W), normal(D), normal(BATCH, D, W - 1)]


def _errors(op: str, run: Any, config: Any, device: torch.device, seed: int) -> dict[str, float]:
    inputs = [t.float().double() for t in _inputs(op, config, seed)]  # exactly representable in fp32

    def outputs_and_gradients(function: Any, dtype: torch.dtype, where: torch.device) -> dict[str, Tensor]:
        leaves = [t.to(where, dtype).requires_grad_() for t in inputs]
        results = function(*leaves)
        generator = torch.Generator().manual_seed(seed + 1)
        weights = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in results]
        total = sum((t.double() * w.to(where)).sum() for t, w in zip(results, weights, strict=True))
        gradients = torch.autograd.grad(total, leaves)
        named = {"output": results[0], "state": results[1]}
        named |= {f"gradient of {name}": gradient for name, gradient in zip(INPUTS[op], gradients, strict=True)}
        return {name: tensor.detach().cpu() for name, tensor in named.items()}

    expected = outputs_and_gradients(REFERENCES[op], torch.float64, torch.device("cpu"))
    got = outputs_and_gradients(run, torch.float32, device)
    return {name: relative_error(got[name], expected[name]) for name in expected}
