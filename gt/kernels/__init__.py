"""The ops behind the mixers. Each public function picks a backend (`gt.kernels.dispatch`) and runs it."""

from __future__ import annotations

import torch
from torch import Tensor

from gt.kernels.dispatch import BACKENDS, Backend, Resolution, resolve

__all__ = [
    "BACKENDS",
    "Backend",
    "Resolution",
    "causal_conv1d",
    "cross_entropy",
    "gated_group_norm",
    "resolve",
    "rms_norm",
    "ssd",
    "token_mix",
    "wkv6",
]


def _check(name: str, tensor: Tensor, shape: tuple[int, ...], letters: str) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has shape {list(tensor.shape)}, expected [{letters}] = {list(shape)}")


def _one_device(*tensors: Tensor | None) -> None:
    devices = {tensor.device for tensor in tensors if tensor is not None}
    if len(devices) > 1:
        raise ValueError(f"tensors are on {' and '.join(sorted(map(str, devices)))}: move them to one device")


def wkv6(
    r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor, state: Tensor | None = None, backend: str | None = None
) -> tuple[Tensor, Tensor]:
    """RWKV-6 recurrence (Peng et al. 2024, arXiv 2404.05892).

    y_t = r_t (S_{t-1} + (u * k_t) v_t^T);  S_t = diag(exp(w_t)) S_{t-1} + k_t v_t^T

    Args:
        r: Receptance [B, T, H, K].
        k: Key [B, T, H, K].
        v: Value [B, T, H, V].
        w: Log-decay [B, T, H, K], at most 0 (w = -exp(d)).
        u: Bonus of the current token [H, K].
        state: [B, H, K, V] in fp32, to continue from; zeros if None.
        backend: Name of a backend (`reference`, `chunked`, `native`, `triton`); by default GT_KERNELS or the device's
            fastest.

    Returns:
        Output [B, T, H, V] in the dtype of `r`, final state [B, H, K, V] in fp32 (fp64 for fp64 inputs).

    Raises:
        ValueError: If shapes do not fit or the backend cannot run.
    """
    B, T, H, K = r.shape
    V = v.shape[-1]
    if T == 0:
        raise ValueError("wkv6 got no tokens (T = 0)")
    _check("k", k, (B, T, H, K), "B, T, H, K")
    _check("v", v, (B, T, H, V), "B, T, H, V")
    _check("w", w, (B, T, H, K), "B, T, H, K")
    _check("u", u, (H, K), "H, K")
    if state is not None:
        _check("state", state, (B, H, K, V), "B, H, K, V")
    _one_device(r, k, v, w, u, state)
    y, new_state = resolve("wkv6", r.device.type, backend).backend.run(r, k, v, w, u, state)
    return y, new_state


def ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    state: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Mamba-2 recurrence (Dao & Gu 2024, arXiv 2405.21060).

    S_t = exp(dt_t A) S_{t-1} + dt_t x_t B_t^T;  y_t = S_t C_t + D x_t

    Args:
        x: Input heads [B, T, H, P].
        dt: Step size [B, T, H], positive.
        A: Decay rate [H], negative.
        B: Input projection [B, T, G, N]; H / G consecutive heads share a group.
        C: Output projection [B, T, G, N].
        D: Skip weight [H], or None.
        state: [B, H, P, N] in fp32, to continue from; zeros if None.
        backend: Name of a backend (`reference`, `chunked`, `native`, `mamba_ssm`); by default GT_KERNELS or the
            device's fastest.

    Returns:
        Output [B, T, H, P] in the dtype of `x`, final state [B, H, P, N] in fp32 (fp64 for fp64 inputs).

    Raises:
        ValueError: If shapes do not fit or the backend cannot run.
    """
    batch, T, H, P = x.shape
    G, N = B.shape[2:]
    if T == 0:
        raise ValueError("ssd got no tokens (T = 0)")
    if H % G:
        raise ValueError(f"{H} heads cannot share {G} groups: H must be a multiple of G")
    _check("dt", dt, (batch, T, H), "B, T, H")
    _check("A", A, (H,), "H")
    _check("B", B, (batch, T, G, N), "B, T, G, N")
    _check("C", C, (batch, T, G, N), "B, T, G, N")
    if D is not None:
        _check("D", D, (H,), "H")
    if state is not None:
        _check("state", state, (batch, H, P, N), "B, H, P, N")
    _one_device(x, dt, A, B, C, D, state)
    y, new_state = resolve("ssd", x.device.type, backend).backend.run(x, dt, A, B, C, D, state)
    return y, new_state


def causal_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor, state: Tensor | None = None, backend: str | None = None
) -> tuple[Tensor, Tensor]:
    """Depthwise causal convolution followed by SiLU, as before Mamba-2's scan.

    Args:
        x: Input [B, T, D].
        weight: Filters [D, W], oldest tap first.
        bias: [D].
        state: The W - 1 inputs before `x`, oldest first [B, D, W - 1]; zeros if None.
        backend: Name of a backend (`reference`, `conv1d`, `native`, `causal_conv1d`); by default GT_KERNELS or the
            device's fastest.

    Returns:
        Output [B, T, D] and the last W - 1 inputs [B, D, W - 1].

    Raises:
        ValueError: If shapes do not fit or the backend cannot run.
    """
    batch, T, channels = x.shape
    width = weight.shape[-1]
    if T == 0:
        raise ValueError("causal_conv1d got no tokens (T = 0)")
    _check("weight", weight, (channels, width), "D, W")
    _check("bias", bias, (channels,), "D")
    if state is not None:
        _check("state", state, (batch, channels, width - 1), "B, D, W - 1")
    _one_device(x, weight, bias, state)
    y, new_state = resolve("causal_conv1d", x.device.type, backend).backend.run(x, weight, bias, state)
    return y, new_state


def token_mix(x: Tensor, previous: Tensor, base: Tensor, shares: Tensor, backend: str | None = None) -> Tensor:
    """RWKV-6's data-dependent token shift (Peng et al. 2024): x + (previous - x) * (base_m + share_m).

    Args:
        x: Input [B, T, C].
        previous: The input one token earlier [B, T, C].
        base: Shares that are learned per channel [M, C], for M targets.
        shares: Shares that depend on the input [M, B, T, C].
        backend: Name of a backend (`reference`, `native`); by default GT_KERNELS or the device's fastest.

    Returns:
        Mixed input of each target [M, B, T, C].

    Raises:
        ValueError: If shapes do not fit or the backend cannot run.
    """
    B, T, C = x.shape
    M = len(base)
    _check("previous", previous, (B, T, C), "B, T, C")
    _check("base", base, (M, C), "M, C")
    _check("shares", shares, (M, B, T, C), "M, B, T, C")
    _one_device(x, previous, base, shares)
    mixed: Tensor = resolve("token_mix", x.device.type, backend).backend.run(x, previous, base, shares)
    return mixed


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None, backend: str | None = None) -> Tensor:
    """Mean cross-entropy in nats, in fp32 at least; with weights sum(w * ce) / sum(w), 0 where all weights are.

    Args:
        logits: [N, vocabulary].
        targets: Token ids [N], int64, each from 0 to below the vocabulary (one that shall not count has weight 0).
        weights: How much each row counts [N], not negative; no gradient reaches them. None: all alike.
        backend: Name of a backend (`reference`, `native`); by default GT_KERNELS or the device's fastest.

    Raises:
        ValueError: If shapes do not fit, there is nothing to predict, or the backend cannot run.
    """
    N = len(logits)
    if N == 0:
        raise ValueError("cross_entropy got no predictions (N = 0)")
    _check("targets", targets, (N,), "N")
    if targets.dtype != torch.int64:
        raise ValueError(f"targets are {targets.dtype}: expected token ids in torch.int64")
    if weights is not None:
        _check("weights", weights, (N,), "N")
    _one_device(logits, targets, weights)
    loss: Tensor = resolve("cross_entropy", logits.device.type, backend).backend.run(logits, targets, weights)
    return loss


def rms_norm(x: Tensor, weight: Tensor, eps: float, gate: Tensor | None = None, backend: str | None = None) -> Tensor:
    """RMSNorm over the last dimension, of x or of x * silu(gate) (Mamba-2's gated norm).

    Args:
        x: Input [..., C].
        weight: [C].
        eps: Added to the mean square.
        gate: As x, or None.
        backend: Name of a backend (`reference`, `native`); by default GT_KERNELS or the device's fastest.

    Raises:
        ValueError: If shapes do not fit or the backend cannot run.
    """
    _check("weight", weight, (x.shape[-1],), "C")
    if gate is not None:
        _check("gate", gate, tuple(x.shape), "..., C")
    _one_device(x, weight, gate)
    out: Tensor = resolve("rms_norm", x.device.type, backend).backend.run(x, weight, eps, gate)
    return out


def gated_group_norm(
    x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, gate: Tensor, backend: str | None = None
) -> Tensor:
    """GroupNorm over the last dimension, then times silu(gate): the end of RWKV-6's time mix.

    Args:
        x: Input [..., C].
        weight: [C].
        bias: [C].
        groups: Number of groups that are normalised each on its own.
        eps: Added to the variance.
        gate: As x.
        backend: Name of a backend (`reference`, `native`); by default GT_KERNELS or the device's fastest.

    Raises:
        ValueError: If shapes do not fit or the backend cannot run.
    """
    C = x.shape[-1]
    if C % groups:
        raise ValueError(f"{C} channels cannot be normalised in {groups} groups: C must be a multiple")
    _check("weight", weight, (C,), "C")
    _check("bias", bias, (C,), "C")
    _check("gate", gate, tuple(x.shape), "..., C")
    _one_device(x, weight, bias, gate)
    run = resolve("gated_group_norm", x.device.type, backend).backend.run
    out: Tensor = run(x, weight, bias, groups, eps, gate)
    return out
