"""GPT-2 (Radford et al. 2019): the transformer that recurrent models are compared with, at matching sizes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gt.models.config import ModelConfig
from gt.models.hybrid import INIT_STD, Activations, require_tokens
from gt.models.norm import NORM_EPS
from gt.models.state import LayerState, ModelState


class Attention(nn.Module):
    """Causal multi-head attention over what was read so far."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.out = nn.Linear(hidden_size, hidden_size)

    def forward(
        self, x_BTC: Tensor, positions_BT: Tensor, size: int, state: LayerState | None
    ) -> tuple[Tensor, LayerState]:
        """Attend from every token to itself and all before it.

        Args:
            x_BTC: Normalised input.
            positions_BT: Position of each token in its own sequence.
            size: Tokens of the longest sequence, after this call.
            state: `keys` and `values` [B, H, S, D] of the tokens before; None at the start of a text.

        Returns:
            Output [B, T, C], and the state after the last token.
        """
        B, T, C = x_BTC.shape
        heads = (B, T, self.num_heads, C // self.num_heads)
        q, k, v = (t.view(heads).transpose(1, 2) for t in self.qkv(x_BTC).chunk(3, dim=-1))  # [B, H, T, D]
        if state is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            k, v = (_extended(state[name], new, positions_BT, size) for name, new in (("keys", k), ("values", v)))
            # A sequence fills its first places, so that what lies beyond its length lies in its future as well.
            seen = torch.arange(size, device=x_BTC.device) <= positions_BT[:, None, :, None]  # [B, 1, T, S]
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        out: Tensor = self.out(y.transpose(1, 2).reshape(B, T, C))
        return out, {"keys": k, "values": v, "lengths": positions_BT[:, -1] + 1}


def _extended(old: Tensor, new: Tensor, positions_BT: Tensor, size: int) -> Tensor:
    """A cache [B, H, S, D] of another size with new entries [B, H, T, D], those of each sequence at its own places."""
    kept = old[:, :, :size].to(new.dtype)
    grown = F.pad(kept, (0, 0, 0, size - kept.shape[2]))
    return grown.scatter(2, positions_BT[:, None, :, None].expand_as(new), new)


class GPT2FeedForward(nn.Module):
    """Linear - GELU (tanh form) - Linear, with biases."""

    def __init__(self, hidden_size: int, expand: int) -> None:
        super().__init__()
        self.up = nn.Linear(hidden_size, expand * hidden_size)
        self.down = nn.Linear(expand * hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., C] to [..., C]."""
        out: Tensor = self.down(F.gelu(self.up(x), approximate="tanh"))
        return out


class GPT2Block(nn.Module):
    """x + Attention(LayerNorm(x)), then x + FFN(LayerNorm(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        C = config.hidden_size
        self.mix_norm = nn.LayerNorm(C, eps=NORM_EPS)
        self.attention = Attention(C, config.num_heads)
        self.ffn_norm = nn.LayerNorm(C, eps=NORM_EPS)
        self.ffn = GPT2FeedForward(C, config.ffn_expand)

    def forward(
        self, x_BTC: Tensor, positions_BT: Tensor, size: int, state: LayerState | None
    ) -> tuple[Tensor, LayerState, Activations]:
        """Return the new residual stream, the layer's state, and the attention's output [B, T, C]."""
        attended, new_state = self.attention(self.mix_norm(x_BTC), positions_BT, size, state)
        x_BTC = x_BTC + attended
        return x_BTC + self.ffn(self.ffn_norm(x_BTC)), new_state, {"attention_out": attended}


class GPT2LM(nn.Module):
    """A transformer language model: learned positions, norms before each part, head tied to the embedding.

    Initialised as published: normal(0, 0.02), biases zero, projections onto the residual stream divided by the root of
    their number. Its state is the cache of keys and values.

    Args:
        config: Its shape, with `mixers=("attention",)` and `max_positions`.
    """

    thread_safe = True  # as in gt.models.hybrid.BlockLM

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.max_positions, config.hidden_size)
        self.blocks = nn.ModuleList(GPT2Block(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=NORM_EPS)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The published initialisation."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                branches = 2 * self.config.num_layers if name.endswith((".out", ".down")) else 1
                nn.init.normal_(module.weight, std=INIT_STD / branches**0.5)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(
        self,
        tokens_BT: Tensor,
        state: ModelState | None = None,
        return_states: bool = False,
        return_activations: bool = False,
        last_only: bool = False,
    ) -> Tensor | tuple[Tensor, ModelState] | tuple[Tensor, Activations] | tuple[Tensor, ModelState, Activations]:
        """Logits of the next token; called as `HybridLM` is.

        The state has `keys` and `values` [B, L, H, S, D] and `lengths` [B, L]; the activations `attention_out`
        [B, L, T, C].

        Raises:
            ValueError: If there is no token, or a sequence grows longer than there are positions.
        """
        require_tokens(tokens_BT)
        B, T = tokens_BT.shape
        start_B1 = state["lengths"][:, :1] if state is not None else tokens_BT.new_zeros(B, 1)
        # Without a state the length is known: asking the device for it would hold up everything queued there.
        size = T + int(start_B1.max()) if state is not None else T
        if size > self.config.max_positions:
            raise ValueError(
                f"got a text of {size} tokens, but {self.config.variant}@{self.config.scale} has learned "
                f"{self.config.max_positions} positions: give a shorter text or a larger scale"
            )
        positions_BT = start_B1 + torch.arange(T, device=tokens_BT.device)
        x = self.embedding(tokens_BT) + self.positions(positions_BT)
        layer_states: list[LayerState] = []
        attended: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            x, layer_state, seen = block(x, positions_BT, size, state.layer(index) if state is not None else None)
            layer_states.append(layer_state)
            attended.append(seen["attention_out"])
        logits = F.linear(self.norm(x[:, -1:] if last_only else x), self.embedding.weight)
        if not (return_states or return_activations):
            return logits
        extras: list[ModelState | Activations] = []
        if return_states:
            extras.append(ModelState.from_layers(layer_states))
        if return_activations:
            extras.append({"attention_out": torch.stack(attended, dim=1)})
        return (logits, *extras)  # type: ignore[return-value]  # the flags fix the length of the tuple
