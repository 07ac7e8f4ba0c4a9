"""Configuration of the two published language models, and what follows from it. Imports no torch.

Tensors are named here as in `gt.models.hybrid.HybridLM`, so that whatever walks a model finds its parts;
`official_name` gives the name in a published file.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar, Literal

import msgspec

from gt.models.config import mamba2_shapes, rwkv6_shapes

Shapes = dict[str, tuple[int, ...]]
Naming = Literal["rwkv6", "mamba_ssm", "transformers"]
"""Who named the tensors of a file: RWKV-LM, mamba_ssm, or transformers."""

KINDS = {"rwkv6": "RWKV-6 x060", "mamba2": "Mamba-2"}
"""What can be loaded: the word before the colon in `KIND:PATH`, and its name."""

_MAMBA_NAMES = {"blocks": "backbone.layers", "mix_norm": "norm", "mamba": "mixer"} | {
    "norm": "backbone.norm_f",
    "head": "lm_head",
}
_OFFICIAL: dict[Naming, dict[str, str]] = {
    "rwkv6": {"embedding": "emb", "input_norm": "blocks.0.ln0", "norm": "ln_out"}
    | {"mix_norm": "ln1", "rwkv": "att", "ffn_norm": "ln2"},
    "mamba_ssm": {"embedding": "backbone.embedding", **_MAMBA_NAMES},
    "transformers": {"embedding": "backbone.embeddings", **_MAMBA_NAMES},
}


def official_name(name: str, naming: Naming) -> str:
    """The name that a tensor has in a published file, e.g. `blocks.1.rwkv.key.weight` -> `blocks.1.att.key.weight`."""
    table = _OFFICIAL[naming]
    part, _, rest = name.partition(".")
    if part == "blocks":
        layer, inner, rest = rest.split(".", 2)
        return f"{table.get(part, part)}.{layer}.{table.get(inner, inner)}.{rest}"
    return f"{table.get(part, part)}.{rest}"


class PublishedRWKV6(msgspec.Struct, frozen=True, kw_only=True):
    """Shape of an RWKV-6 x060 language model (BlinkDL/RWKV-LM; Peng et al. 2024, arXiv 2404.05892).

    Attributes:
        kind: What stands before the colon in `KIND:PATH`.
        mixers: Mixers of a block, as in `gt.models.config.ModelConfig`.
        vocab_size: Rows of the embedding and of the head.
        num_layers: Blocks.
        hidden_size: Width of the residual stream (`n_embd`, here equal to `dim_att`).
        num_heads: Heads of the time mix.
        ffn_size: Inner width of the channel mix (`dim_ffn`).
        lora_mix: Rank of the data-dependent mixing (`D_MIX_LORA`).
        lora_decay: Rank of the data-dependent decay (`D_DECAY_LORA`).
    """

    kind: ClassVar[str] = "rwkv6"
    mixers: ClassVar[tuple[str, ...]] = ("rwkv",)
    vocab_size: int
    num_layers: int
    hidden_size: int
    num_heads: int
    ffn_size: int
    lora_mix: int
    lora_decay: int

    @property
    def head_dim(self) -> int:
        """Channels per head."""
        return self.hidden_size // self.num_heads

    def parameter_shapes(self) -> Shapes:
        """Name and shape of every parameter, as in the model's `state_dict`."""
        C, inner = self.hidden_size, self.ffn_size

        def layer_norm(name: str) -> Shapes:
            return {f"{name}.weight": (C,), f"{name}.bias": (C,)}

        ffn: Shapes = {
            "time_maa_k": (1, 1, C),
            "time_maa_r": (1, 1, C),
            "key.weight": (inner, C),
            "receptance.weight": (C, C),
            "value.weight": (C, inner),
        }
        shapes: Shapes = {"embedding.weight": (self.vocab_size, C)} | layer_norm("input_norm")
        for layer in range(self.num_layers):
            prefix = f"blocks.{layer}."
            shapes |= layer_norm(prefix + "mix_norm") | layer_norm(prefix + "ffn_norm")
            rwkv = rwkv6_shapes(C, self.num_heads, self.lora_mix, self.lora_decay)
            shapes |= {f"{prefix}rwkv.{name}": shape for name, shape in rwkv.items()}
            shapes |= {f"{prefix}ffn.{name}": shape for name, shape in ffn.items()}
        return shapes | layer_norm("norm") | {"head.weight": (self.vocab_size, C)}

    def state_shapes(self) -> Shapes:
        """Shape of each part of the recurrent state for one sequence: [L, ...] without the batch dimension."""
        L, C, H, K = self.num_layers, self.hidden_size, self.num_heads, self.head_dim
        return {"rwkv_state": (L, H, K, K), "rwkv_shift": (L, C), "ffn_shift": (L, C)}


class PublishedMamba2(msgspec.Struct, frozen=True, kw_only=True):
    """Shape of a Mamba-2 language model (state-spaces/mamba; Dao & Gu 2024, arXiv 2405.21060).

    Attributes:
        kind: What stands before the colon in `KIND:PATH`.
        mixers: Mixers of a block, as in `gt.models.config.ModelConfig`.
        vocab_size: Rows of the embedding and of the head, with their padding.
        num_layers: Blocks.
        hidden_size: Width of the residual stream (`d_model`).
        d_state: State size per head channel.
        mamba_head_dim: Channels per head (`headdim`).
        expand: Inner width in units of hidden_size.
        conv_width: Taps of the convolution (`d_conv`).
        num_groups: Groups of heads that share B and C (`ngroups`).
        norm_groups: Groups of the gated norm: `num_groups` in mamba_ssm, 1 in transformers.
        tied: Whether the head is the embedding.
    """

    kind: ClassVar[str] = "mamba2"
    mixers: ClassVar[tuple[str, ...]] = ("mamba",)
    vocab_size: int
    num_layers: int
    hidden_size: int
    d_state: int
    mamba_head_dim: int
    expand: int
    conv_width: int
    num_groups: int
    norm_groups: int
    tied: bool

    @property
    def d_inner(self) -> int:
        """Width of the inner stream."""
        return self.expand * self.hidden_size

    @property
    def mamba_heads(self) -> int:
        """Heads."""
        return self.d_inner // self.mamba_head_dim

    @property
    def conv_dim(self) -> int:
        """Channels of the convolution: x, B and C."""
        return self.d_inner + 2 * self.num_groups * self.d_state

    def parameter_shapes(self) -> Shapes:
        """Name and shape of every parameter, as in the model's `state_dict`."""
        C = self.hidden_size
        shapes: Shapes = {"embedding.weight": (self.vocab_size, C)}
        for layer in range(self.num_layers):
            shapes[f"blocks.{layer}.mix_norm.weight"] = (C,)
            mamba = mamba2_shapes(C, self.d_inner, self.conv_dim, self.mamba_heads, self.conv_width)
            shapes |= {f"blocks.{layer}.mamba.{name}": shape for name, shape in mamba.items()}
        shapes["norm.weight"] = (C,)
        return shapes if self.tied else shapes | {"head.weight": (self.vocab_size, C)}

    def state_shapes(self) -> Shapes:
        """Shape of each part of the recurrent state for one sequence: [L, ...] without the batch dimension."""
        L = self.num_layers
        return {
            "mamba_state": (L, self.mamba_heads, self.mamba_head_dim, self.d_state),
            "mamba_conv": (L, self.conv_dim, self.conv_width - 1),
        }


PublishedConfig = PublishedRWKV6 | PublishedMamba2


def parameter_counts(config: PublishedConfig) -> tuple[int, int]:
    """Parameters in total, and without the embedding and a head of its own."""
    sizes = {name: prod(shape) for name, shape in config.parameter_shapes().items()}
    total = sum(sizes.values())
    return total, total - sizes["embedding.weight"] - sizes.get("head.weight", 0)
