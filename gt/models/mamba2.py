"""Mamba-2 mixer (Dao & Gu 2024, arXiv 2405.21060), with the parameter names of `mamba_ssm`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gt import kernels
from gt.kernels import native_layers, native_step
from gt.kernels.reference import state_dtype
from gt.models.norm import RMSNorm
from gt.models.state import LayerState


class Mamba2(nn.Module):
    """One projection in, causal convolution, selective state-space recurrence, gated norm, projection out.

    Args:
        hidden_size: Channels C of the residual stream.
        d_state: State size N.
        head_dim: Channels P per head.
        expand: Inner width in units of C.
        conv_width: Taps of the convolution.
        num_layers: Layers of the model: the output projection is scaled by 1 / sqrt(branches on the residual stream).
        residuals_per_layer: Residual branches per layer (2 with a feed-forward layer, 1 without).
        num_groups: Groups of heads, each with B and C of its own.
        norm_groups: Groups of the gated norm.
    """

    def __init__(
        self,
        hidden_size: int,
        d_state: int,
        head_dim: int,
        expand: int,
        conv_width: int,
        num_layers: int,
        residuals_per_layer: int = 2,
        num_groups: int = 1,
        norm_groups: int = 1,
    ) -> None:
        super().__init__()
        self.d_inner, self.d_state, self.head_dim = expand * hidden_size, d_state, head_dim
        self.num_heads, self.num_groups = self.d_inner // head_dim, num_groups
        conv_dim = self.d_inner + 2 * num_groups * d_state
        self.in_proj = nn.Linear(hidden_size, self.d_inner + conv_dim + self.num_heads, bias=False)
        self.conv1d = nn.Conv1d(conv_dim, conv_dim, conv_width, groups=conv_dim)
        self.dt_bias = nn.Parameter(torch.empty(self.num_heads))
        self.A_log = nn.Parameter(torch.empty(self.num_heads))
        self.D = nn.Parameter(torch.ones(self.num_heads))
        self.norm = RMSNorm(self.d_inner, groups=norm_groups)
        self.out_proj = nn.Linear(self.d_inner, hidden_size, bias=False)
        self.reset_parameters(num_layers, residuals_per_layer)

    @torch.no_grad()
    def reset_parameters(self, num_layers: int, residuals_per_layer: int) -> None:
        """The initialisation of `mamba_ssm`: its linear layers keep the framework's default."""
        step = torch.exp(
            torch.rand_like(self.dt_bias) * (math.log(0.1) - math.log(1e-3)) + math.log(1e-3),
        ).clamp(min=1e-4)
        self.dt_bias.copy_(step + torch.log(-torch.expm1(-step)))  # the inverse of softplus
        self.A_log.copy_(torch.empty_like(self.A_log).uniform_(1, 16).log())
        self.D.fill_(1)
        self.out_proj.reset_parameters()
        self.out_proj.weight.div_(math.sqrt(residuals_per_layer * num_layers))

    def forward(self, x_BTC: Tensor, state: LayerState | None = None) -> tuple[Tensor, LayerState]:
        """Mix a stretch of tokens.

        Args:
            x_BTC: Normalised input.
            state: `mamba_state` [B, heads, P, N] and `mamba_conv` [B, conv_dim, W - 1] to continue from; None at the
                start of a text.

        Returns:
            Output [B, T, C] and the state after the last token.
        """
        if state is not None and self.norm.groups == 1 and native_step.usable(x_BTC, native_step.MAMBA2_OPS):
            stepped = native_step.mamba2(self, x_BTC, state)
            if stepped is not None:
                return stepped
        if state is None and self.norm.groups == 1 and native_layers.usable(x_BTC, native_step.MAMBA2_OPS):
            at_once = native_layers.mamba2(self, x_BTC)
            if at_once is not None:
                return at_once
        B, T, _ = x_BTC.shape
        groups = (self.num_groups, self.d_state)
        BC_size = self.num_groups * self.d_state
        sizes = [self.d_inner, self.d_inner + 2 * BC_size, self.num_heads]
        z, xBC, dt = self.in_proj(x_BTC).split(sizes, dim=-1)
        xBC, conv_state = kernels.causal_conv1d(
            xBC.contiguous(),
            self.conv1d.weight[:, 0],
            self.conv1d.get_parameter("bias"),
            state["mamba_conv"] if state else None,
        )
        x, Bm, Cm = xBC.split([self.d_inner, BC_size, BC_size], dim=-1)
        dtype = state_dtype(x_BTC.dtype)  # steps and decay rates are too coarse in bf16
        y, ssm_state = kernels.ssd(
            x.view(B, T, self.num_heads, self.head_dim),
            F.softplus(dt.to(dtype) + self.dt_bias.to(dtype)),
            -torch.exp(self.A_log.to(dtype)),
            Bm.unflatten(-1, groups),
            Cm.unflatten(-1, groups),
            self.D,
            state["mamba_state"] if state else None,
        )
        out: Tensor = self.out_proj(self.norm(y.reshape(B, T, self.d_inner), z))
        return out, {"mamba_state": ssm_state, "mamba_conv": conv_state}
