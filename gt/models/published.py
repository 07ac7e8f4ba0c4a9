"""The two published language models in their own architectures, built from the mixers of `gt.models`.

RWKV-6 x060 (BlinkDL/RWKV-LM; Peng et al. 2024, arXiv 2404.05892) has a LayerNorm after the embedding and a channel
mix after every time mix; Mamba-2 (state-spaces/mamba; Dao & Gu 2024, arXiv 2405.21060) has no feed-forward layer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gt.kernels.reference import state_dtype
from gt.models.hybrid import INIT_STD, Activations, BlockLM
from gt.models.mamba2 import Mamba2
from gt.models.norm import NORM_EPS, RMSNorm
from gt.models.published_config import PublishedConfig, PublishedMamba2, PublishedRWKV6
from gt.models.rwkv6 import RWKV6TimeMix, previous_token
from gt.models.state import LayerState


class ChannelMix(nn.Module):
    """Feed-forward layer of RWKV-6 x060: token shift, squared ReLU, and a sigmoid gate.

    Args:
        hidden_size: Channels C.
        ffn_size: Inner width.
        layer: Index of the layer, for the initialisation.
        num_layers: Number of layers, for the initialisation.
    """

    def __init__(self, hidden_size: int, ffn_size: int, layer: int, num_layers: int) -> None:
        super().__init__()
        start = 1 - (torch.arange(hidden_size) / hidden_size) ** (1 - layer / num_layers)
        self.time_maa_k = nn.Parameter(start.view(1, 1, -1).clone())
        self.time_maa_r = nn.Parameter(start.view(1, 1, -1).clone())
        self.key = nn.Linear(hidden_size, ffn_size, bias=False)
        self.receptance = nn.Linear(hidden_size, hidden_size, bias=False)
        self.value = nn.Linear(ffn_size, hidden_size, bias=False)
        nn.init.orthogonal_(self.key.weight)
        nn.init.zeros_(self.receptance.weight)
        nn.init.zeros_(self.value.weight)

    def forward(self, x_BTC: Tensor, state: LayerState | None) -> tuple[Tensor, LayerState]:
        """Mix a stretch of tokens [B, T, C].

        Args:
            x_BTC: Normalised input.
            state: `ffn_shift` [B, C], the last input before this call; None at the start of a text.

        Returns:
            Output [B, T, C] and the state after the last token.
        """
        difference = previous_token(x_BTC, state["ffn_shift"] if state else None) - x_BTC
        key = self.key(x_BTC + difference * self.time_maa_k)
        gate = torch.sigmoid(self.receptance(x_BTC + difference * self.time_maa_r))
        out: Tensor = gate * self.value(F.relu(key).square())
        return out, {"ffn_shift": x_BTC[:, -1].clone()}


class RWKV6Block(nn.Module):
    """x + TimeMix(LayerNorm(x)), then x + ChannelMix(LayerNorm(x))."""

    def __init__(self, config: PublishedRWKV6, layer: int) -> None:
        super().__init__()
        C, L = config.hidden_size, config.num_layers
        self.mix_norm = nn.LayerNorm(C, eps=NORM_EPS)
        self.rwkv = RWKV6TimeMix(C, config.num_heads, layer, L, config.lora_mix, config.lora_decay)
        self.mamba = self.fusion = None
        self.ffn_norm = nn.LayerNorm(C, eps=NORM_EPS)
        self.ffn = ChannelMix(C, config.ffn_size, layer, L)

    def forward(self, x_BTC: Tensor, state: LayerState | None) -> tuple[Tensor, LayerState, Activations]:
        """Return the new residual stream, the layer's state, and the mixer's output [B, T, C]."""
        mixed, rwkv_state = self.rwkv(self.mix_norm(x_BTC), state)
        x_BTC = x_BTC + mixed
        fed, ffn_state = self.ffn(self.ffn_norm(x_BTC), state)
        return x_BTC + fed, rwkv_state | ffn_state, {"rwkv_out": mixed}


class Mamba2Block(nn.Module):
    """x + Mamba2(RMSNorm(x)), the residual stream in fp32 whatever the weights are in (`residual_in_fp32`)."""

    def __init__(self, config: PublishedMamba2) -> None:
        super().__init__()
        self.mix_norm = RMSNorm(config.hidden_size)
        self.mamba = Mamba2(
            config.hidden_size,
            config.d_state,
            config.mamba_head_dim,
            config.expand,
            config.conv_width,
            config.num_layers,
            residuals_per_layer=1,
            num_groups=config.num_groups,
            norm_groups=config.norm_groups,
        )
        self.rwkv = self.fusion = None

    def forward(self, x_BTC: Tensor, state: LayerState | None) -> tuple[Tensor, LayerState, Activations]:
        """Return the new residual stream, the layer's state, and the mixer's output [B, T, C]."""
        dtype = self.mix_norm.weight.dtype
        mixed, new_state = self.mamba(self.mix_norm(x_BTC.to(dtype)), state)
        return x_BTC.to(state_dtype(dtype)) + mixed, new_state, {"mamba_out": mixed}


class PublishedLM(BlockLM):
    """A published language model, called as `gt.models.hybrid.HybridLM` is.

    Its state adds `ffn_shift` [B, L, C] for RWKV-6: the last token's input to the channel mix. A model that is built
    rather than loaded starts as its authors start it.

    Args:
        config: Its shape.
    """

    def __init__(self, config: PublishedConfig) -> None:
        super().__init__()
        self.config = config
        C, vocab_size = config.hidden_size, config.vocab_size
        self.embedding = nn.Embedding(vocab_size, C)
        self.input_norm = self.head = None
        if isinstance(config, PublishedRWKV6):
            self.input_norm = nn.LayerNorm(C, eps=NORM_EPS)
            self.blocks = nn.ModuleList(RWKV6Block(config, layer) for layer in range(config.num_layers))
            self.norm = nn.LayerNorm(C, eps=NORM_EPS)
            self.head = nn.Linear(C, vocab_size, bias=False)
            nn.init.uniform_(self.embedding.weight, -1e-4, 1e-4)
            nn.init.orthogonal_(self.head.weight, gain=0.5 * math.sqrt(max(vocab_size / C, 1)))
        else:
            self.blocks = nn.ModuleList(Mamba2Block(config) for _ in range(config.num_layers))
            self.norm = RMSNorm(C)
            self.head = None if config.tied else nn.Linear(C, vocab_size, bias=False)
            nn.init.normal_(self.embedding.weight, std=INIT_STD)

    def embed(self, tokens_BT: Tensor) -> Tensor:
        """What the first block reads, [B, T, C]."""
        x_BTC = super().embed(tokens_BT)
        return x_BTC if self.input_norm is None else self.input_norm(x_BTC)

    def read_out(self, x_BTC: Tensor) -> Tensor:
        """Logits [B, T, vocabulary] from what the last block wrote."""
        x_BTC = x_BTC.to(self.embedding.weight.dtype)
        return super().read_out(x_BTC) if self.head is None else self.head(self.norm(x_BTC))
