"""Readable reference of every op: one token at a time, any floating dtype (fp64 to check the others)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """Recurrent states are kept in fp32 (fp64 for fp64 inputs), whatever the activations are in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def wkv6(
    r_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, w_BTHK: Tensor, u_HK: Tensor, state_BHKV: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """RWKV-6 recurrence (Peng et al. 2024, arXiv 2404.05892): y_t reads the state before step t's decay.

    Args:
        r_BTHK: Receptance.
        k_BTHK: Key.
        v_BTHV: Value.
        w_BTHK: Log-decay, at most 0.
        u_HK: Bonus of the current token.
        state_BHKV: State to continue from; zeros if None.

    Returns:
        Output [B, T, H, V] in the dtype of `r`, and the final state [B, H, K, V] in fp32 (fp64 for fp64 inputs).
    """
    dtype = state_dtype(r_BTHK.dtype)
    r, k, v, w, u = (t.to(dtype) for t in (r_BTHK, k_BTHK, v_BTHV, w_BTHK, u_HK))
    B, T, H, K = r.shape
    S = r.new_zeros(B, H, K, v.shape[-1]) if state_BHKV is None else state_BHKV.to(dtype)
    outputs = []
    for t in range(T):
        kv_BHKV = k[:, t, :, :, None] * v[:, t, :, None, :]
        outputs.append((r[:, t, :, None, :] @ (S + u[:, :, None] * kv_BHKV)).squeeze(-2))
        S = w[:, t].exp()[..., None] * S + kv_BHKV
    return torch.stack(outputs, dim=1).to(r_BTHK.dtype), S


def ssd(
    x_BTHP: Tensor,
    dt_BTH: Tensor,
    A_H: Tensor,
    B_BTGN: Tensor,
    C_BTGN: Tensor,
    D_H: Tensor | None = None,
    state_BHPN: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Mamba-2 recurrence (Dao & Gu 2024, arXiv 2405.21060): y_t reads the state after step t.

    Args:
        x_BTHP: Input per head.
        dt_BTH: Step size, positive.
        A_H: Decay rate, negative.
        B_BTGN: Input projection; consecutive heads share one of G groups.
        C_BTGN: Output projection.
        D_H: Skip weight per head, or None.
        state_BHPN: State to continue from; zeros if None.

    Returns:
        Output [B, T, H, P] in the dtype of `x`, and the final state [B, H, P, N] in fp32 (fp64 for fp64 inputs).
    """
    dtype = state_dtype(x_BTHP.dtype)
    x, dt, A, Bm, Cm = (t.to(dtype) for t in (x_BTHP, dt_BTH, A_H, B_BTGN, C_BTGN))
    B, T, H, P = x.shape
    heads_per_group = H // Bm.shape[2]
    Bm, Cm = (t.repeat_interleave(heads_per_group, dim=2) for t in (Bm, Cm))
    S = x.new_zeros(B, H, P, Bm.shape[-1]) if state_BHPN is None else state_BHPN.to(dtype)
    outputs = []
    for t in range(T):
        decay_BH = (dt[:, t] * A).exp()
        S = decay_BH[..., None, None] * S + (dt[:, t, :, None] * x[:, t])[..., None] * Bm[:, t, :, None, :]
        outputs.append((S @ Cm[:, t, :, :, None]).squeeze(-1))
    y = torch.stack(outputs, dim=1)
    if D_H is not None:
        y = y + D_H.to(dtype)[:, None] * x
    return y.to(x_BTHP.dtype), S


def causal_conv1d(
    x_BTD: Tensor, weight_DW: Tensor, bias_D: Tensor, state_BDW: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Depthwise causal convolution followed by SiLU, as in Mamba-2's mixer; one tap at a time.

    Args:
        x_BTD: Input.
        weight_DW: One filter of width W per channel, oldest tap first.
        bias_D: Bias.
        state_BDW: The last W - 1 inputs before this call, oldest first; zeros if None.

    Returns:
        Output [B, T, D] in the dtype of `x`, and the last W - 1 inputs [B, D, W - 1].
    """
    B, T, D = x_BTD.shape
    width = weight_DW.shape[1]
    past = x_BTD.new_zeros(B, D, width - 1) if state_BDW is None else state_BDW.to(x_BTD.dtype)
    padded_BDT = torch.cat([past, x_BTD.transpose(1, 2)], dim=2)
    total = bias_D[:, None].expand(D, T)
    for tap in range(width):
        total = total + weight_DW[:, tap, None] * padded_BDT[:, :, tap : tap + T]
    return F.silu(total).transpose(1, 2), padded_BDT[:, :, T:]
