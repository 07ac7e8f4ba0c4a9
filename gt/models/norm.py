"""The norm that every model of this project uses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gt import kernels

NORM_EPS = 1e-5


class RMSNorm(nn.Module):
    """RMSNorm(x), or RMSNorm(x * silu(gate)) with a gate: before the norm, as in Mamba-2 (`norm_before_gate=False`)."""

    def __init__(self, size: int, eps: float = NORM_EPS) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """Normalise over the last dimension of `x`; `gate` as `x`."""
        return kernels.rms_norm(x, self.weight, self.eps, gate)
