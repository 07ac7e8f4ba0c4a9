"""How a block joins its two mixers. A variant of the hybrid is a fusion and an initial value.

Every fusion is called as `fused, share = fusion(rwkv, mamba)`. The share is RWKV's: the size of its coefficient as a
part of both sizes, [B, T, 1] where one number serves all channels and [B, T, C] where each has its own; None where the
outputs have no coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gt.models.norm import RMSNorm

Fused = tuple[Tensor, Tensor | None]


def _share(rwkv: Tensor, mamba: Tensor) -> Tensor:
    """RWKV's share of two coefficients, which training may drive below zero."""
    return rwkv.abs() / (rwkv.abs() + mamba.abs())


class GainFusion(nn.Module):
    """g_r * RMSNorm(rwkv) + g_m * RMSNorm(mamba), with a learned gain for each channel, the same at every position.

    Args:
        hidden_size: Channels of each input.
        gate_init: g_r at initialisation; g_m starts at 1 - g_r.
    """

    def __init__(self, hidden_size: int, gate_init: float) -> None:
        super().__init__()
        self.rwkv_gain = nn.Parameter(torch.full((hidden_size,), gate_init))
        self.mamba_gain = nn.Parameter(torch.full((hidden_size,), 1 - gate_init))
        self.rwkv_norm = RMSNorm(hidden_size)
        self.mamba_norm = RMSNorm(hidden_size)

    def forward(self, rwkv_BTC: Tensor, mamba_BTC: Tensor) -> Fused:
        """Return the fused output [B, T, C] and RWKV's share [B, T, C]."""
        fused = self.rwkv_gain * self.rwkv_norm(rwkv_BTC) + self.mamba_gain * self.mamba_norm(mamba_BTC)
        return fused, _share(self.rwkv_gain, self.mamba_gain).expand_as(fused)


class GatedFusion(nn.Module):
    """s * rwkv + (1 - s) * mamba with s = sigmoid(Linear([rwkv, mamba])).

    Args:
        hidden_size: Channels of each input.
        gate_init: s at initialisation, between 0 and 1 (the gate starts as a pure bias).
        gates: Gates per position: one for all channels, or one for each.
    """

    def __init__(self, hidden_size: int, gate_init: float, gates: int = 1) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * hidden_size, gates)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, math.log(gate_init / (1 - gate_init)))

    def forward(self, rwkv_BTC: Tensor, mamba_BTC: Tensor) -> Fused:
        """Return the fused output [B, T, C] and RWKV's share [B, T, gates]."""
        share = torch.sigmoid(self.gate(torch.cat([rwkv_BTC, mamba_BTC], dim=-1)))
        return mamba_BTC + share * (rwkv_BTC - mamba_BTC), share


class ConcatFusion(nn.Module):
    """Linear([rwkv, mamba]), which has no coefficient of RWKV that could be reported.

    Args:
        hidden_size: Channels of each input.
        gate_init: Without effect.
    """

    def __init__(self, hidden_size: int, gate_init: float) -> None:
        super().__init__()
        self.projection = nn.Linear(2 * hidden_size, hidden_size)

    def forward(self, rwkv_BTC: Tensor, mamba_BTC: Tensor) -> Fused:
        """Return the fused output [B, T, C] and no share."""
        return self.projection(torch.cat([rwkv_BTC, mamba_BTC], dim=-1)), None


class WeightedFusion(nn.Module):
    """w * rwkv + (1 - w) * mamba, one learned number for all channels and positions.

    Args:
        hidden_size: Without effect.
        gate_init: w at initialisation.
    """

    def __init__(self, hidden_size: int, gate_init: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(gate_init))

    def forward(self, rwkv_BTC: Tensor, mamba_BTC: Tensor) -> Fused:
        """Return the fused output [B, T, C] and RWKV's share [B, T, 1]."""
        share = _share(self.weight, 1 - self.weight).expand(*rwkv_BTC.shape[:-1], 1)
        return mamba_BTC + self.weight * (rwkv_BTC - mamba_BTC), share


class ResidualFusion(nn.Module):
    """Rwkv + a * mamba: RWKV with a learned amount of Mamba, one number for all channels and positions.

    Args:
        hidden_size: Without effect.
        gate_init: RWKV's share at initialisation, 1 / (1 + a).
    """

    def __init__(self, hidden_size: int, gate_init: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1 / gate_init - 1))

    def forward(self, rwkv_BTC: Tensor, mamba_BTC: Tensor) -> Fused:
        """Return the fused output [B, T, C] and RWKV's share [B, T, 1]."""
        share = _share(torch.ones_like(self.scale), self.scale).expand(*rwkv_BTC.shape[:-1], 1)
        return rwkv_BTC + self.scale * mamba_BTC, share


FUSIONS: dict[str, Callable[[int, float], nn.Module]] = {
    "gains": GainFusion,
    "gated": GatedFusion,
    "channel_gated": lambda hidden_size, gate_init: GatedFusion(hidden_size, gate_init, gates=hidden_size),
    "concatenated": ConcatFusion,
    "weighted": WeightedFusion,
    "residual": ResidualFusion,
}
"""Fusion by name: called with the hidden size and the initial share of RWKV."""
