"""Functions between the recurrences that cost many passes through memory when they are spelled out, by the framework.

These are the readable forms; `native` does the same in one pass.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits_NV: Tensor, targets_N: Tensor, weights_N: Tensor | None = None) -> Tensor:
    """Mean cross-entropy in nats, computed in fp32 at least; with weights sum(w * ce) / sum(w)."""
    dtype = torch.promote_types(logits_NV.dtype, torch.float32)
    if weights_N is None:
        return F.cross_entropy(logits_NV.to(dtype), targets_N)
    losses_N = F.cross_entropy(logits_NV.to(dtype), targets_N, reduction="none")
    return (losses_N * row_shares(weights_N, dtype)).sum()


def row_shares(weights_N: Tensor, dtype: torch.dtype) -> Tensor:
    """Each row's share of a weighted mean; all zero where nothing has weight."""
    weights_N = weights_N.detach().to(dtype)
    return weights_N / weights_N.sum().clamp_min(torch.finfo(dtype).tiny)


def token_mix(x_BTC: Tensor, previous_BTC: Tensor, base_MC: Tensor, shares_MBTC: Tensor) -> Tensor:
    """RWKV-6's data-dependent mixing of each token with the one before: x + (previous - x) * (base_m + share_m)."""
    return x_BTC + (previous_BTC - x_BTC) * (base_MC[:, None, None] + shares_MBTC)


def rms_norm(x: Tensor, weight_C: Tensor, eps: float, gate: Tensor | None = None) -> Tensor:
    """RMSNorm over the last dimension of x, or of x * silu(gate) (Mamba-2's gated norm), both [..., C]."""
    return F.rms_norm(x if gate is None else x * F.silu(gate), weight_C.shape, weight_C, eps)


def gated_group_norm(x: Tensor, weight_C: Tensor, bias_C: Tensor, groups: int, eps: float, gate: Tensor) -> Tensor:
    """GroupNorm over the last dimension of x, then times silu(gate) (RWKV-6's output), both [..., C]."""
    return F.group_norm(x.flatten(0, -2), groups, weight_C, bias_C, eps).view_as(x) * F.silu(gate)
