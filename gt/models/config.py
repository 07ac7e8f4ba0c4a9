"""Configuration of a model, and everything that follows from it without building a tensor. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import ClassVar

import msgspec

LORA_MIX = 32  # D_MIX_LORA of RWKV-6
LORA_DECAY = 64  # D_DECAY_LORA of RWKV-6
MIXER_OPS = {"rwkv": ("wkv6",), "mamba": ("causal_conv1d", "ssd"), "attention": ()}
"""Operators of `gt.kernels` that each mixer runs on."""

MIX_TARGETS = "wkvrg"  # what the token shift mixes for, in the order of the official weights


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shape of a model: a hybrid, one with a single mixer, or a transformer.

    Attributes:
        variant: Row of the table of variants, e.g. "GF-MH".
        scale: Name of the scale, e.g. "3.5M".
        vocab_size: Tokens of the tokenizer.
        num_layers: Blocks.
        hidden_size: Width of the residual stream.
        num_heads: Heads of RWKV-6, or of the attention.
        mixers: Parallel mixers of a block, of "rwkv" and "mamba"; or ("attention",), which is GPT-2.
        fusion: Key of `gt.models.fusion.FUSIONS`; unused with one mixer.
        gate_init: RWKV's share in the fusion at initialisation; unused by a fusion that has no share.
        d_state: State size of Mamba-2 per head channel.
        mamba_head_dim: Channels per Mamba-2 head.
        expand: Width of Mamba-2's inner stream in units of hidden_size.
        conv_width: Taps of Mamba-2's causal convolution.
        ffn_expand: Width of the feed-forward layer in units of hidden_size.
        max_positions: Learned positions of GPT-2, its longest text; 0 where nothing limits the length.
        num_groups: Groups of Mamba-2's heads that share B and C.
    """

    num_groups: ClassVar[int] = 1
    variant: str
    scale: str
    vocab_size: int
    num_layers: int
    hidden_size: int
    num_heads: int
    mixers: tuple[str, ...] = ("rwkv", "mamba")
    fusion: str = "gated"
    gate_init: float = 0.5
    d_state: int = 64
    mamba_head_dim: int = 64
    expand: int = 2
    conv_width: int = 4
    ffn_expand: int = 4
    max_positions: int = 0

    @property
    def head_dim(self) -> int:
        """Channels per head of RWKV-6, or of the attention."""
        return self.hidden_size // self.num_heads

    @property
    def d_inner(self) -> int:
        """Width of Mamba-2's inner stream."""
        return self.expand * self.hidden_size

    @property
    def mamba_heads(self) -> int:
        """Heads of Mamba-2."""
        return self.d_inner // self.mamba_head_dim

    @property
    def conv_dim(self) -> int:
        """Channels of Mamba-2's convolution: x, B and C."""
        return self.d_inner + 2 * self.d_state


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter, as in the model's `state_dict` and in a checkpoint's header."""
    if "attention" in config.mixers:
        return _gpt2_shapes(config)
    C = config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (config.vocab_size, C)}
    for layer in range(config.num_layers):
        prefix = f"blocks.{layer}."
        shapes[prefix + "mix_norm.weight"] = (C,)
        if "rwkv" in config.mixers:
            rwkv = rwkv6_shapes(C, config.num_heads)
            shapes |= {prefix + "rwkv." + name: shape for name, shape in rwkv.items()}
        if "mamba" in config.mixers:
            mamba = mamba2_shapes(C, config.d_inner, config.conv_dim, config.mamba_heads, config.conv_width)
            shapes |= {prefix + "mamba." + name: shape for name, shape in mamba.items()}
        if len(config.mixers) > 1:
            shapes |= {prefix + "fusion." + name: shape for name, shape in _FUSION_SHAPES[config.fusion](C).items()}
        shapes[prefix + "ffn_norm.weight"] = (C,)
        shapes[prefix + "ffn.up.weight"] = (config.ffn_expand * C, C)
        shapes[prefix + "ffn.down.weight"] = (C, config.ffn_expand * C)
    shapes["norm.weight"] = (C,)
    return shapes


_FUSION_SHAPES: dict[str, Callable[[int], dict[str, tuple[int, ...]]]] = {
    "gains": lambda C: {"rwkv_gain": (C,), "mamba_gain": (C,), "rwkv_norm.weight": (C,), "mamba_norm.weight": (C,)},
    "gated": lambda C: {"gate.weight": (1, 2 * C), "gate.bias": (1,)},
    "channel_gated": lambda C: {"gate.weight": (C, 2 * C), "gate.bias": (C,)},
    "concatenated": lambda C: {"projection.weight": (C, 2 * C), "projection.bias": (C,)},
    "weighted": lambda C: {"weight": ()},
    "residual": lambda C: {"scale": ()},
}


def _gpt2_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    C, inner = config.hidden_size, config.ffn_expand * config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.weight": (config.vocab_size, C),
        "positions.weight": (config.max_positions, C),
    }
    linear = {"attention.qkv": (3 * C, C), "attention.out": (C, C), "ffn.up": (inner, C), "ffn.down": (C, inner)}
    for layer in range(config.num_layers):
        prefix = f"blocks.{layer}."
        for norm in ("mix_norm", "ffn_norm"):
            shapes |= {f"{prefix}{norm}.weight": (C,), f"{prefix}{norm}.bias": (C,)}
        for name, shape in linear.items():
            shapes |= {f"{prefix}{name}.weight": shape, f"{prefix}{name}.bias": shape[:1]}
    return shapes | {"norm.weight": (C,), "norm.bias": (C,)}


def rwkv6_shapes(
    hidden_size: int, num_heads: int, lora_mix: int = LORA_MIX, lora_decay: int = LORA_DECAY
) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter of `gt.models.rwkv6.RWKV6TimeMix`."""
    C = hidden_size
    shapes: dict[str, tuple[int, ...]] = {f"time_maa_{name}": (1, 1, C) for name in "xwkvrg"}
    shapes |= {
        "time_maa_w1": (C, len(MIX_TARGETS) * lora_mix),
        "time_maa_w2": (len(MIX_TARGETS), lora_mix, C),
        "time_decay": (1, 1, C),
        "time_decay_w1": (C, lora_decay),
        "time_decay_w2": (lora_decay, C),
        "time_faaaa": (num_heads, C // num_heads),
    }
    shapes |= {f"{name}.weight": (C, C) for name in ("receptance", "key", "value", "gate", "output")}
    return shapes | {"ln_x.weight": (C,), "ln_x.bias": (C,)}


def mamba2_shapes(
    hidden_size: int, d_inner: int, conv_dim: int, num_heads: int, conv_width: int
) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter of `gt.models.mamba2.Mamba2`."""
    return {
        "in_proj.weight": (d_inner + conv_dim + num_heads, hidden_size),
        "conv1d.weight": (conv_dim, 1, conv_width),
        "conv1d.bias": (conv_dim,),
        "dt_bias": (num_heads,),
        "A_log": (num_heads,),
        "D": (num_heads,),
        "norm.weight": (d_inner,),
        "out_proj.weight": (hidden_size, d_inner),
    }


def state_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shape of each part of the recurrent state for one sequence: [L, ...] without the batch dimension.

    GPT-2 has none: what it carries grows with the text (`cache_size`).
    """
    L = config.num_layers
    shapes: dict[str, tuple[int, ...]] = {}
    if "rwkv" in config.mixers:
        shapes["rwkv_state"] = (L, config.num_heads, config.head_dim, config.head_dim)
        shapes["rwkv_shift"] = (L, config.hidden_size)
    if "mamba" in config.mixers:
        shapes["mamba_state"] = (L, config.mamba_heads, config.mamba_head_dim, config.d_state)
        shapes["mamba_conv"] = (L, config.conv_dim, config.conv_width - 1)
    return shapes


def state_size(config: ModelConfig) -> int:
    """Numbers in the recurrent state of one sequence, however long it is."""
    return sum(prod(shape) for shape in state_shapes(config).values())


def cache_size(config: ModelConfig) -> int:
    """Numbers that GPT-2 keeps for every token of a sequence: a key and a value per channel and layer."""
    return 2 * config.num_layers * config.hidden_size if "attention" in config.mixers else 0


def parameter_counts(config: ModelConfig) -> tuple[int, int]:
    """Parameters in total, and without the tables that are looked up: the (tied) embedding and learned positions."""
    shapes = parameter_shapes(config)
    tables = sum(prod(shape) for name, shape in shapes.items() if name in ("embedding.weight", "positions.weight"))
    total = sum(prod(shape) for shape in shapes.values())
    return total, total - tables


def flops_per_token(config: ModelConfig, context: int = 0) -> int:
    """Floating-point operations of the forward pass for one token; a training step takes about three times as many.

    A matrix of n weights costs 2 n, the tied head included, and so does the convolution. Every number of an RWKV-6 or
    Mamba-2 state costs 5: it is decayed, the outer product is formed and added, and it is multiplied and added when
    read. Attention costs 4 C per layer and token attended to: the products with its key and with its value. Norms,
    activations and products of vectors are left out: together they are a few per cent.

    Args:
        config: The model.
        context: Tokens that the attention of GPT-2 looks back on; without effect on the others.
    """
    matrices = sum(
        prod(shape)
        for name, shape in parameter_shapes(config).items()
        if len(shape) > 1 and name.endswith(("weight", "_w1", "_w2")) and name != "positions.weight"
    )
    recurrent = sum(prod(shape) for name, shape in state_shapes(config).items() if name.endswith("_state"))
    attention = 4 * config.hidden_size * config.num_layers * context if "attention" in config.mixers else 0
    return 2 * matrices + 5 * recurrent + attention
