"""WKV6 in chunked matrix form, exact for any decay.

Inside a chunk the decay between key j and query i is exp(w_{j+1} + ... + w_{i-1}). Factorised over a whole chunk one
factor overflows when decays are strong, and differences of cumulative sums cancel. Here a chunk is halved
recursively: queries of a second half meet keys of the first half at the boundary between them, so that both exponents
are sums of log-decays (never differences), at most 0, and computed from the bottom up without cancellation.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gt.kernels import reference

CHUNK = 16  # a power of two


def wkv6(
    r_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, w_BTHK: Tensor, u_HK: Tensor, state_BHKV: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Same function as `gt.kernels.reference.wkv6`, in matrix products over chunks of 16 tokens."""
    B, T, H, K = r_BTHK.shape
    if T == 1:  # decoding: a chunk would be padding
        return reference.wkv6(r_BTHK, k_BTHK, v_BTHV, w_BTHK, u_HK, state_BHKV)
    dtype = reference.state_dtype(r_BTHK.dtype)
    # Padding tokens have key 0 and log-decay 0: they leave the state as it is.
    pad = -T % CHUNK
    r, k, v, w = (
        F.pad(t.to(dtype).transpose(1, 2), (0, 0, 0, pad)).unflatten(2, (-1, CHUNK))
        for t in (r_BTHK, k_BTHK, v_BTHV, w_BTHK)
    )  # [B, H, N chunks, C, K or V]

    scores, before, after, total = _pair_scores(r, k, w, u_HK.to(dtype))
    y = scores @ v
    update_NBHKV = (k * after.exp()).transpose(-1, -2).matmul(v).unbind(2)
    decay_NBHK = total.exp().unbind(2)
    S = r.new_zeros(B, H, K, v.shape[-1]) if state_BHKV is None else state_BHKV.to(dtype)
    starts = []
    for update, decay in zip(update_NBHKV, decay_NBHK, strict=True):
        starts.append(S)
        S = decay[..., None] * S + update
    y = y + (r * before.exp()) @ torch.stack(starts, dim=2)
    y = y.flatten(2, 3)[:, :, :T].transpose(1, 2)
    return y.to(r_BTHK.dtype), S


def _pair_scores(r: Tensor, k: Tensor, w: Tensor, u_HK: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Decayed query-key products inside each chunk, all of shape [B, H, N, C, ...].

    Returns:
        The scores [B, H, N, C, C] (bonus on the diagonal, zero above it); the log-decay from the chunk's start to
        before each token; from after each token to the chunk's end, both [B, H, N, C, K]; over the chunk [B, H, N, K].
    """
    chunk = r.shape[-2]
    # Blocks of size s, s = 1, 2, 4, ...: scores [.., C/s, s, s]; log-decay before/after a token inside its block.
    scores = ((r * u_HK[:, None, None]) * k).sum(-1)[..., None, None]
    before = after = torch.zeros_like(w).unsqueeze(-2)
    total = w
    size = 1
    while size < chunk:
        pairs = (-1, 2)
        before_1, before_2 = before.unflatten(3, pairs).unbind(4)
        after_1, after_2 = after.unflatten(3, pairs).unbind(4)
        total_1, total_2 = total.unflatten(3, pairs).unbind(4)
        scores_1, scores_2 = scores.unflatten(3, pairs).unbind(4)
        queries = r.unflatten(3, (-1, 2, size))[:, :, :, :, 1] * before_2.exp()
        keys = k.unflatten(3, (-1, 2, size))[:, :, :, :, 0] * after_1.exp()
        cross = queries @ keys.transpose(-1, -2)
        scores = torch.cat(
            [torch.cat([scores_1, torch.zeros_like(cross)], -1), torch.cat([cross, scores_2], -1)], dim=-2
        )
        before = torch.cat([before_1, before_2 + total_1.unsqueeze(-2)], dim=-2)
        after = torch.cat([after_1 + total_2.unsqueeze(-2), after_2], dim=-2)
        total = total_1 + total_2
        size *= 2
    return scores.squeeze(3), before.squeeze(3), after.squeeze(3), total.squeeze(3)
