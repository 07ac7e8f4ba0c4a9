"""How a block joins its two mixers. A variant of the hybrid is a fusion and an initial value."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


class GatedFusion(nn.Module):
    """s * rwkv + (1 - s) * mamba with s = sigmoid(Linear([rwkv, mamba])), one gate per position.

    Args:
        hidden_size: Channels of each input.
        gate_init: s at initialisation, between 0 and 1 (the gate starts as a pure bias).
    """

    def __init__(self, hidden_size: int, gate_init: float) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * hidden_size, 1)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, math.log(gate_init / (1 - gate_init)))

    def forward(self, rwkv_BTC: Tensor, mamba_BTC: Tensor) -> tuple[Tensor, Tensor]:
        """Return the fused output [B, T, C] and RWKV's share [B, T, 1]."""
        share = torch.sigmoid(self.gate(torch.cat([rwkv_BTC, mamba_BTC], dim=-1)))
        return mamba_BTC + share * (rwkv_BTC - mamba_BTC), share


FUSIONS: dict[str, Callable[[int, float], nn.Module]] = {"gated": GatedFusion}
"""Fusion by name: called with the hidden size and the initial share of RWKV."""
