"""The norm that every model of this project uses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gt import kernels

NORM_EPS = 1e-5


class RMSNorm(nn.Module):
    """RMSNorm(x), or RMSNorm(x * silu(gate)) with a gate: before the norm, as in Mamba-2 (`norm_before_gate=False`).

    Args:
        size: Channels.
        eps: Added to the mean square.
        groups: Runs of consecutive channels that are normalised each by itself.
    """

    def __init__(self, size: int, eps: float = NORM_EPS, groups: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps, self.groups = eps, groups

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """Normalise over the last dimension of `x`; `gate` as `x`."""
        if self.groups == 1:
            return kernels.rms_norm(x, self.weight, self.eps, gate)
        split = (self.groups, x.shape[-1] // self.groups)
        ones = torch.ones_like(self.weight[: split[1]])
        rows, gates = x.unflatten(-1, split), None if gate is None else gate.unflatten(-1, split)
        return kernels.rms_norm(rows, ones, self.eps, gates).flatten(-2) * self.weight
