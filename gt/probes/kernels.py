"""G0: does every op run on the fastest backend of the device, and does that agree with the reference?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gt.kernels import native_layers, native_step, reference, resolve
from gt.measurement import Measurement, measured
from gt.models.config import ModelConfig
from gt.models.hybrid import Block
from gt.probes.compare import relative_error, worst

if TYPE_CHECKING:
    from gt.subject import Subject

BATCH, LENGTH = 2, 70  # a length that is no multiple of a chunk
INPUTS = {
    "wkv6": ("r", "k", "v", "w", "u", "state"),
    "ssd": ("x", "dt", "A", "B", "C", "D", "state"),
    "causal_conv1d": ("x", "weight", "bias", "state"),
}
MIXERS = {"rwkv": native_step.RWKV6_OPS, "mamba": native_step.MAMBA2_OPS}
# Relative to the largest value; from TINY to 125M the worst was 1.3e-5, in the gate's bias, whose terms cancel.
BLOCK_TOLERANCE = 1e-4
REFERENCES = {"wkv6": reference.wkv6, "ssd": reference.ssd, "causal_conv1d": reference.causal_conv1d}


def resolution_and_agreement(subject: Subject) -> tuple[Measurement, ...]:
    """Resolve each op that the model uses, and compare it with the fp64 reference at the model's own head sizes.

    Outputs, final states and the gradients of all inputs are compared; an error counts relative to the tolerance of
    the backend (`gt.kernels.BACKENDS`). Where a block or its mixers train in one call (`gt.kernels.native_layers`), a
    block of the model's sizes counts as one op more, against its readable form in fp64. Source: checks.md G0 [S].
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
    in_one_call = _block_errors(subject.config, subject.device, subject.seed)
    if in_one_call is not None:
        name, error_value = worst(in_one_call)
        ratios[f"block {name}"] = error_value / BLOCK_TOLERANCE
        fastest.append(True)
        detail["block"] = {"backend": "native", "reason": "in one call each way", "worst_error": error_value}
    count = len(ops) + (in_one_call is not None)
    where, ratio = worst(ratios) if ratios else ("nothing resolved", float("nan"))
    return (
        measured("ops_resolved", len(ratios) / count, n=count, detail=detail),
        measured("ops_fastest", sum(fastest) / count, n=count, note="; ".join(slower)),
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


def _block_errors(config: Any, device: torch.device, seed: int) -> dict[str, float] | None:
    """Errors of a block with random weights in fp32; None where no part of it runs in one call."""
    if not isinstance(config, ModelConfig):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        block = Block(config, 0)
        for parameter in block.parameters():  # none is zero: each has a part in what is compared
            parameter.data.add_(0.02 * torch.randn_like(parameter))
        x_BTC = torch.randn(BATCH, LENGTH, config.hidden_size).to(device)
        weights = torch.randn(BATCH, LENGTH, config.hidden_size, dtype=torch.float64)
    ops = [MIXERS[mixer] for mixer in config.mixers if mixer in MIXERS]
    with torch.enable_grad():
        if not any(native_layers.usable(x_BTC, of_mixer) for of_mixer in ops):
            return None

        def values_and_gradients(part: nn.Module, x: Tensor) -> dict[str, Tensor]:
            leaves = {"gradient of x": x.clone().requires_grad_()}
            leaves |= {f"gradient of {name}": parameter for name, parameter in part.named_parameters()}
            out, state, seen = part(leaves["gradient of x"], None)
            values = {"output": out, **state, **seen}
            total = (out.double() * weights).sum() + sum(t.double().sum() for t in (*state.values(), *seen.values()))
            gradients = torch.autograd.grad(total, list(leaves.values()))
            return {name: t.detach() for name, t in (*values.items(), *zip(leaves, gradients, strict=True))}

        got = values_and_gradients(block, x_BTC)
        expected = values_and_gradients(block.double(), x_BTC.double())
    return {name: relative_error(got[name], expected[name]) for name in expected}


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
