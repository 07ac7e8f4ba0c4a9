"""The model: embedding, blocks of parallel mixers with a fusion and a feed-forward layer, norm, tied head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gt.kernels import native_layers, native_model, native_step
from gt.models.config import ModelConfig
from gt.models.fusion import FUSIONS, GatedFusion
from gt.models.mamba2 import Mamba2
from gt.models.norm import RMSNorm
from gt.models.rwkv6 import RWKV6TimeMix
from gt.models.state import LayerState, ModelState

INIT_STD = 0.02  # of plain linear layers and the embedding

Activations = dict[str, Tensor]
"""Component outputs of a call: `rwkv_out`, `mamba_out` [B, L, T, C]; `gate` [B, L, T, 1 or C] if there is a share."""


def require_tokens(tokens_BT: Tensor) -> None:
    """Refuse input that is no batch of tokens.

    Raises:
        ValueError: If it is not [B, T] with at least one token: what comes after nothing is not known to a model.
    """
    if tokens_BT.ndim != 2 or not tokens_BT.numel():
        raise ValueError(f"got tokens of shape {list(tokens_BT.shape)}: expected [B, T] with at least one token")


class FeedForward(nn.Module):
    """Linear - GELU - Linear, without biases."""

    def __init__(self, hidden_size: int, expand: int) -> None:
        super().__init__()
        self.up = nn.Linear(hidden_size, expand * hidden_size, bias=False)
        self.down = nn.Linear(expand * hidden_size, hidden_size, bias=False)
        for linear in (self.up, self.down):
            nn.init.normal_(linear.weight, std=INIT_STD)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., C] to [..., C]."""
        out: Tensor = self.down(F.gelu(self.up(x)))
        return out


class Block(nn.Module):
    """x + Fusion(RWKV6(n), Mamba2(n)) with n = RMSNorm(x), then x + FFN(RMSNorm(x)); or the same with one mixer."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        C = config.hidden_size
        self.mix_norm = RMSNorm(C)
        self.rwkv = self.mamba = self.fusion = None
        if "rwkv" in config.mixers:
            self.rwkv = RWKV6TimeMix(C, config.num_heads, layer, config.num_layers)
        if "mamba" in config.mixers:
            self.mamba = Mamba2(
                C, config.d_state, config.mamba_head_dim, config.expand, config.conv_width, config.num_layers
            )
        if self.rwkv is not None and self.mamba is not None:
            self.fusion = FUSIONS[config.fusion](C, config.gate_init)
            # The official zero output would leave RWKV silent at step 0: in a hybrid it starts as Mamba's out_proj.
            self.rwkv.output.reset_parameters()
            with torch.no_grad():
                self.rwkv.output.weight.div_((2 * config.num_layers) ** 0.5)
        self.ffn_norm = RMSNorm(C)
        self.ffn = FeedForward(C, config.ffn_expand)

    def forward(self, x_BTC: Tensor, state: LayerState | None) -> tuple[Tensor, LayerState, Activations]:
        """Return the new residual stream, the layer's state, and the component outputs [B, T, ...].

        A gradient reaches what the component outputs are made of; one with respect to them needs the readable form
        (GT_KERNELS=reference), since a block in one call makes them and the residual stream together.
        """
        if state is None and _has_one_gate(self) and native_layers.usable(x_BTC, native_step.BLOCK_OPS):
            at_once = native_layers.block(self, x_BTC)
            if at_once is not None:
                return at_once
        normed = self.mix_norm(x_BTC)
        new_state: LayerState = {}
        seen: Activations = {}
        if self.rwkv is not None:
            seen["rwkv_out"], rwkv_state = self.rwkv(normed, state)
            new_state |= rwkv_state
        if self.mamba is not None:
            seen["mamba_out"], mamba_state = self.mamba(normed, state)
            new_state |= mamba_state
        if self.fusion is not None:
            fused, share = self.fusion(seen["rwkv_out"], seen["mamba_out"])
            if share is not None:
                seen["gate"] = share
        else:
            (fused,) = seen.values()
        x_BTC = x_BTC + fused
        return x_BTC + self.ffn(self.ffn_norm(x_BTC)), new_state, seen


class BlockLM(nn.Module):
    """A recurrent language model: `embedding`, `blocks` in a row, `norm`, and a head tied to the embedding.

    What differs is in `__init__` of the subclasses, in `embed`, `run_blocks` and `read_out`.

    Attributes:
        thread_safe: Rows of a batch are independent and a call changes nothing in the module, so that two threads may
            call it at once.
    """

    thread_safe = True

    embedding: nn.Embedding
    blocks: nn.ModuleList
    norm: nn.Module

    def embed(self, tokens_BT: Tensor) -> Tensor:
        """What the first block reads, [B, T, C]."""
        x_BTC: Tensor = self.embedding(tokens_BT)
        return x_BTC

    def run_blocks(
        self, x_BTC: Tensor, states: Sequence[LayerState | None]
    ) -> tuple[Tensor, list[LayerState], list[Activations]]:
        """What the last block wrote [B, T, C], and of every layer its state and component outputs [B, T, ...]."""
        after: list[LayerState] = []
        activations: list[Activations] = []
        for block, state in zip(self.blocks, states, strict=True):
            x_BTC, layer_state, seen = block(x_BTC, state)
            after.append(layer_state)
            activations.append(seen)
        return x_BTC, after, activations

    def read_out(self, x_BTC: Tensor) -> Tensor:
        """Logits [B, T, vocabulary] from what the last block wrote."""
        return F.linear(self.norm(x_BTC), self.embedding.weight)

    def forward(
        self,
        tokens_BT: Tensor,
        state: ModelState | None = None,
        return_states: bool = False,
        return_activations: bool = False,
        last_only: bool = False,
    ) -> Tensor | tuple[Tensor, ModelState] | tuple[Tensor, Activations] | tuple[Tensor, ModelState, Activations]:
        """Logits of the next token.

        Args:
            tokens_BT: Token ids.
            state: State to continue from; None at the start of a text.
            return_states: Also return the state after the last token.
            return_activations: Also return the component outputs of every layer, stacked [B, L, T, ...].
            last_only: Give the logits after the last token alone: to who only reads, the head is a quarter of the work.

        Returns:
            Logits [B, T, vocabulary] ([B, 1, vocabulary] with `last_only`), then the state and the activations if asked
            for, in this order.

        Raises:
            ValueError: If there is no token.
        """
        require_tokens(tokens_BT)
        before = [state.layer(index) if state is not None else None for index in range(len(self.blocks))]
        x, layer_states, activations = self.run_blocks(self.embed(tokens_BT), before)
        logits = self.read_out(x[:, -1:] if last_only else x)
        if not (return_states or return_activations):
            return logits
        extras: list[ModelState | Activations] = []
        if return_states:
            shares = [seen["gate"] for seen in activations if "gate" in seen]
            extras.append(ModelState.from_layers(layer_states, shares))
        if return_activations:
            extras.append({name: torch.stack([seen[name] for seen in activations], dim=1) for name in activations[0]})
        return (logits, *extras)  # type: ignore[return-value]  # the flags fix the length of the tuple


class HybridLM(BlockLM):
    """A language model of parallel RWKV-6 and Mamba-2 blocks.

    Args:
        config: Its shape.

    Example:
        ``logits, states = model(tokens_BT, return_states=True)`` then ``model(next_BT, state=states)``.
    """

    norm: RMSNorm

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        nn.init.normal_(self.embedding.weight, std=INIT_STD)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size)

    def run_blocks(
        self, x_BTC: Tensor, states: Sequence[LayerState | None]
    ) -> tuple[Tensor, list[LayerState], list[Activations]]:
        """As `BlockLM.run_blocks`; one token in one call of a compiled function where that does the same."""
        before = [state for state in states if state is not None]
        if before and native_step.usable(x_BTC, native_step.BLOCK_OPS) and all(map(_has_one_gate, self.blocks)):
            stepped = native_step.blocks(self.blocks, x_BTC, before)
            if stepped is not None:
                return stepped
        return super().run_blocks(x_BTC, states)

    def loss_and_gradients(self, tokens_BT: Tensor, halves: bool) -> tuple[Tensor, dict[Tensor, Tensor]] | None:
        """The mean cross-entropy of every token but the first [] and its gradients, in one call of a compiled function.

        Args:
            tokens_BT: Token ids.
            halves: Compute the halves of the batch side by side.

        Returns:
            The loss and the gradient of every parameter that it reaches, or None where autograd has to find them.
        """
        as_built = type(self) is HybridLM and type(self.norm) is RMSNorm and all(map(_has_one_gate, self.blocks))
        if as_built and native_model.usable(tokens_BT):
            return native_model.loss_and_gradients(self, tokens_BT, halves)
        return None


def _has_one_gate(block: nn.Module) -> bool:
    fusion = block.fusion if type(block) is Block else None
    return type(fusion) is GatedFusion and fusion.gate.out_features == 1
