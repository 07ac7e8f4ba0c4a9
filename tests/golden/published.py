"""The two published language models, in their own architectures, around our mixers: what golden numbers describe."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gt.models.mamba2 import Mamba2
from gt.models.rwkv6 import RWKV6TimeMix, previous_token
from gt.models.state import LayerState


class ChannelMix(nn.Module):
    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.time_maa_k = nn.Parameter(torch.zeros(1, 1, size))
        self.time_maa_r = nn.Parameter(torch.zeros(1, 1, size))
        self.key = nn.Linear(size, inner, bias=False)
        self.receptance = nn.Linear(size, size, bias=False)
        self.value = nn.Linear(inner, size, bias=False)

    def forward(self, x: Tensor, last: Tensor | None) -> Tensor:
        difference = previous_token(x, last) - x
        key = self.key(x + difference * self.time_maa_k)
        gate = torch.sigmoid(self.receptance(x + difference * self.time_maa_r))
        out: Tensor = gate * self.value(F.relu(key).square())
        return out


class RWKV6Block(nn.Module):
    def __init__(self, size: int, heads: int, inner: int, layer: int, layers: int) -> None:
        super().__init__()
        if layer == 0:
            self.ln0 = nn.LayerNorm(size)
        self.ln1, self.ln2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.att = RWKV6TimeMix(size, heads, layer, layers)
        self.ffn = ChannelMix(size, inner)

    def forward(self, x: Tensor, state: LayerState | None) -> tuple[Tensor, LayerState]:
        if hasattr(self, "ln0"):
            x = self.ln0(x)
        mixed, new_state = self.att(self.ln1(x), state)
        x = x + mixed
        z = self.ln2(x)
        x = x + self.ffn(z, state["ffn_shift"] if state else None)
        return x, new_state | {"ffn_shift": z[:, -1]}


class RWKV6LM(nn.Module):
    def __init__(self, vocabulary: int, size: int, heads: int, inner: int, layers: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(vocabulary, size)
        self.blocks = nn.ModuleList(RWKV6Block(size, heads, inner, layer, layers) for layer in range(layers))
        self.ln_out = nn.LayerNorm(size)
        self.head = nn.Linear(size, vocabulary, bias=False)

    def forward(self, tokens: Tensor, states: list[LayerState] | None = None) -> tuple[Tensor, list[LayerState]]:
        x, after = self.emb(tokens), []
        for index, block in enumerate(self.blocks):
            x, state = block(x, states[index] if states else None)
            after.append(state)
        return self.head(self.ln_out(x)), after


class Mamba2Block(nn.Module):
    def __init__(self, size: int, d_state: int, head_dim: int, layers: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(size, eps=1e-5)
        self.mixer = Mamba2(size, d_state, head_dim, 2, 4, layers, residuals_per_layer=1)


class Mamba2Backbone(nn.Module):
    def __init__(self, vocabulary: int, size: int, d_state: int, head_dim: int, layers: int) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(vocabulary, size)
        self.layers = nn.ModuleList(Mamba2Block(size, d_state, head_dim, layers) for _ in range(layers))
        self.norm_f = nn.RMSNorm(size, eps=1e-5)


class Mamba2LM(nn.Module):
    def __init__(self, vocabulary: int, size: int, d_state: int, head_dim: int, layers: int) -> None:
        super().__init__()
        self.backbone = Mamba2Backbone(vocabulary, size, d_state, head_dim, layers)
        self.lm_head = nn.Linear(size, vocabulary, bias=False)

    def forward(self, tokens: Tensor, states: list[LayerState] | None = None) -> tuple[Tensor, list[LayerState]]:
        x, after = self.backbone.embeddings(tokens), []
        for index, block in enumerate(self.backbone.layers):
            mixed, state = block.mixer(block.norm(x), states[index] if states else None)
            x = x + mixed
            after.append(state)
        return self.lm_head(self.backbone.norm_f(x)), after
