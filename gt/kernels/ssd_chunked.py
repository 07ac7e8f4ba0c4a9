"""SSD (Mamba-2) in chunked matrix form (Dao & Gu 2024, section 6)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gt.kernels import reference

CHUNK = 32  # on CPU 32-64 is fastest (256 is about 5x slower)


def ssd(
    x_BTHP: Tensor,
    dt_BTH: Tensor,
    A_H: Tensor,
    B_BTGN: Tensor,
    C_BTGN: Tensor,
    D_H: Tensor | None = None,
    state_BHPN: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Same function as `gt.kernels.reference.ssd`, in matrix products over chunks of 32 tokens."""
    B, T, H, P = x_BTHP.shape
    if T == 1:  # decoding: a chunk would be padding
        return reference.ssd(x_BTHP, dt_BTH, A_H, B_BTGN, C_BTGN, D_H, state_BHPN)
    dtype = reference.state_dtype(x_BTHP.dtype)
    G, N = B_BTGN.shape[2:]
    # Padding tokens have step size 0: they neither decay the state nor add to it.
    pad = -T % CHUNK
    x = F.pad(x_BTHP.to(dtype).transpose(1, 2), (0, 0, 0, pad)).unflatten(2, (-1, CHUNK))  # [B, H, N chunks, C, P]
    dt = F.pad(dt_BTH.to(dtype).transpose(1, 2), (0, pad)).unflatten(2, (-1, CHUNK))  # [B, H, N chunks, C]
    Bm, Cm = (
        F.pad(t.to(dtype).transpose(1, 2), (0, 0, 0, pad)).unflatten(2, (-1, CHUNK)) for t in (B_BTGN, C_BTGN)
    )  # [B, G, N chunks, C, N]

    # Differences of cumulative log-decays cancel: fp64 keeps them exact for any |dt * A| that matters.
    cumulative = (dt.double() * A_H.double()[:, None, None]).cumsum(-1)
    lower = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=x.device).tril()
    # Fill before exp: above the diagonal the exponent is positive and could overflow, and inf * 0 has no gradient.
    between = (cumulative[..., :, None] - cumulative[..., None, :]).masked_fill(~lower, -torch.inf).to(dtype).exp()
    to_end = (cumulative[..., -1:] - cumulative).to(dtype).exp()
    from_start = cumulative.to(dtype).exp()

    def per_head(t: Tensor) -> Tensor:
        return t.repeat_interleave(H // G, dim=1) if G > 1 else t  # one group broadcasts

    dtx = x * dt[..., None]
    y = (per_head(Cm @ Bm.transpose(-1, -2)) * between) @ dtx
    update = ((dtx * to_end[..., None]).transpose(-1, -2) @ per_head(Bm)).unbind(2)  # N x [B, H, P, N]
    S = x.new_zeros(B, H, P, N) if state_BHPN is None else state_BHPN.to(dtype)
    starts = []
    for step, decay in zip(update, from_start[..., -1].unbind(2), strict=True):
        starts.append(S)
        S = decay[..., None, None] * S + step
    y = y + (per_head(Cm) @ torch.stack(starts, dim=2).transpose(-1, -2)) * from_start[..., None]
    if D_H is not None:
        y = y + D_H.to(dtype)[:, None, None, None] * x
    return y.flatten(2, 3)[:, :, :T].transpose(1, 2).to(x_BTHP.dtype), S
