"""RWKV-6 time mix (x060, "Finch"; Peng et al. 2024, arXiv 2404.05892), with the official parameter names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gt import kernels
from gt.kernels import native_layers, native_step
from gt.kernels.reference import state_dtype
from gt.models.config import LORA_DECAY, LORA_MIX, MIX_TARGETS
from gt.models.state import LayerState

# GroupNorm eps of ln_x: 1e-5 times the official head_size_divisor 8 squared, at any head size.
LN_X_EPS = 64e-5


def previous_token(x_BTC: Tensor, last_BC: Tensor | None) -> Tensor:
    """The sequence shifted by one token: x_{t-1} at t, `last` (or zeros) at the first."""
    first = torch.zeros_like(x_BTC[:, :1]) if last_BC is None else last_BC[:, None].to(x_BTC.dtype)
    return torch.cat([first, x_BTC[:, :-1]], dim=1)


class RWKV6TimeMix(nn.Module):
    """Token shift with data-dependent mixing, data-dependent decay, matrix-valued state, gated output.

    Args:
        hidden_size: Channels C.
        num_heads: Heads H; C / H is the head size.
        layer: Index of the layer, for the initialisation.
        num_layers: Number of layers, for the initialisation.
        lora_mix: Rank of the data-dependent mixing.
        lora_decay: Rank of the data-dependent decay.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        layer: int,
        num_layers: int,
        lora_mix: int = LORA_MIX,
        lora_decay: int = LORA_DECAY,
    ) -> None:
        super().__init__()
        C, self.num_heads = hidden_size, num_heads
        self.time_maa_x = nn.Parameter(torch.empty(1, 1, C))
        for name in MIX_TARGETS:
            setattr(self, f"time_maa_{name}", nn.Parameter(torch.empty(1, 1, C)))
        self.time_maa_w1 = nn.Parameter(torch.empty(C, len(MIX_TARGETS) * lora_mix))
        self.time_maa_w2 = nn.Parameter(torch.empty(len(MIX_TARGETS), lora_mix, C))
        self.time_decay = nn.Parameter(torch.empty(1, 1, C))
        self.time_decay_w1 = nn.Parameter(torch.empty(C, lora_decay))
        self.time_decay_w2 = nn.Parameter(torch.empty(lora_decay, C))
        self.time_faaaa = nn.Parameter(torch.empty(num_heads, C // num_heads))
        self.receptance = nn.Linear(C, C, bias=False)
        self.key = nn.Linear(C, C, bias=False)
        self.value = nn.Linear(C, C, bias=False)
        self.gate = nn.Linear(C, C, bias=False)
        self.output = nn.Linear(C, C, bias=False)
        self.ln_x = nn.GroupNorm(num_heads, C, eps=LN_X_EPS)
        self.reset_parameters(layer, num_layers)

    @torch.no_grad()
    def reset_parameters(self, layer: int, num_layers: int) -> None:
        """The official initialisation, which depends on the depth of the layer and on the channel."""
        C = self.receptance.in_features
        depth = layer / max(num_layers - 1, 1)  # 0 at the first layer, 1 at the last
        remaining = 1 - layer / num_layers  # 1 at the first layer, towards 0
        channel = torch.arange(C) / C
        position = torch.arange(C) / (C - 1)
        for name in "xwk":
            self.get_parameter(f"time_maa_{name}").copy_(1 - channel**remaining)
        self.get_parameter("time_maa_v").copy_(1 - (channel**remaining + 0.3 * depth))
        for name in "rg":
            self.get_parameter(f"time_maa_{name}").copy_(1 - channel ** (0.5 * remaining))
        self.time_decay.copy_(-6 + 5 * position ** (0.7 + 1.3 * depth))
        zigzag = ((torch.arange(C) + 1) % 3 - 1) * 0.1
        self.time_faaaa.copy_((depth * (1 - position) + zigzag).view_as(self.time_faaaa))
        self.time_maa_w1.zero_()
        self.time_decay_w1.zero_()
        nn.init.uniform_(self.time_maa_w2, -0.01, 0.01)
        nn.init.uniform_(self.time_decay_w2, -0.01, 0.01)
        for linear, gain in ((self.receptance, 1.0), (self.key, 0.1), (self.value, 1.0), (self.gate, 0.1)):
            nn.init.orthogonal_(linear.weight, gain=gain)
        nn.init.zeros_(self.output.weight)
        self.ln_x.weight.fill_(((1 + layer) / num_layers) ** 0.7)
        self.ln_x.bias.zero_()

    def forward(self, x_BTC: Tensor, state: LayerState | None = None) -> tuple[Tensor, LayerState]:
        """Mix a stretch of tokens.

        Args:
            x_BTC: Normalised input.
            state: `rwkv_state` [B, H, K, V] and `rwkv_shift` [B, C] to continue from; None at the start of a text.

        Returns:
            Output [B, T, C] and the state after the last token.
        """
        if state is not None and native_step.usable(x_BTC, native_step.RWKV6_OPS):
            stepped = native_step.rwkv6(self, x_BTC, state)
            if stepped is not None:
                return stepped
        if state is None and native_layers.usable(x_BTC, native_step.RWKV6_OPS):
            at_once = native_layers.rwkv6(self, x_BTC)
            if at_once is not None:
                return at_once
        B, T, C = x_BTC.shape
        heads = (B, T, self.num_heads, C // self.num_heads)
        previous = previous_token(x_BTC, state["rwkv_shift"] if state else None)
        mixed = torch.lerp(x_BTC, previous, self.time_maa_x)
        rank = self.time_maa_w2.shape[1]
        lora = torch.tanh(mixed @ self.time_maa_w1).view(B * T, len(MIX_TARGETS), rank).transpose(0, 1)
        shares = torch.bmm(lora, self.time_maa_w2).view(len(MIX_TARGETS), B, T, C)
        base = torch.stack([self.get_parameter(f"time_maa_{name}") for name in MIX_TARGETS])
        x_w, x_k, x_v, x_r, x_g = kernels.token_mix(x_BTC, previous, base.flatten(1), shares).unbind(0)

        # The decay is summed in fp32 at least: exp(-exp(d)) of a bf16 d is coarse.
        dtype = state_dtype(x_BTC.dtype)
        d = self.time_decay.to(dtype) + (torch.tanh(x_w @ self.time_decay_w1) @ self.time_decay_w2).to(dtype)
        log_decay = -torch.exp(d)
        y, wkv_state = kernels.wkv6(
            self.receptance(x_r).view(heads),
            self.key(x_k).view(heads),
            self.value(x_v).view(heads),
            log_decay.view(heads),
            self.time_faaaa,
            state["rwkv_state"] if state else None,
        )
        norm = self.ln_x
        y = kernels.gated_group_norm(
            y.reshape(B, T, C), norm.weight, norm.bias, norm.num_groups, norm.eps, self.gate(x_g)
        )
        out: Tensor = self.output(y)
        return out, {"rwkv_state": wkv_state, "rwkv_shift": x_BTC[:, -1].clone()}
