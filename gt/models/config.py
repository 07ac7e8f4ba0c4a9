"""Configuration of a model, and everything that follows from it without building a tensor. Imports no torch."""

from __future__ import annotations

from math import prod

import msgspec

LORA_MIX = 32  # D_MIX_LORA of RWKV-6
LORA_DECAY = 64  # D_DECAY_LORA of RWKV-6
MIX_TARGETS = "wkvrg"  # what the token shift mixes for, in the order of the official weights


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shape of a hybrid model, or of one with a single mixer.

    Attributes:
        variant: Row of the table of variants, e.g. "GF-MH".
        scale: Name of the scale, e.g. "3.5M".
        vocab_size: Tokens of the tokenizer.
        num_layers: Blocks.
        hidden_size: Width of the residual stream.
        num_heads: Heads of RWKV-6.
        mixers: Parallel mixers of a block, of "rwkv" and "mamba".
        fusion: Key of `gt.models.fusion.FUSIONS`; unused with one mixer.
        gate_init: RWKV's share in the fusion at initialisation.
        d_state: State size of Mamba-2 per head channel.
        mamba_head_dim: Channels per Mamba-2 head.
        expand: Width of Mamba-2's inner stream in units of hidden_size.
        conv_width: Taps of Mamba-2's causal convolution.
        ffn_expand: Width of the feed-forward layer in units of hidden_size.
    """

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

    @property
    def head_dim(self) -> int:
        """Channels per RWKV-6 head."""
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
            shapes |= {prefix + "fusion.gate.weight": (1, 2 * C), prefix + "fusion.gate.bias": (1,)}
        shapes[prefix + "ffn_norm.weight"] = (C,)
        shapes[prefix + "ffn.up.weight"] = (config.ffn_expand * C, C)
        shapes[prefix + "ffn.down.weight"] = (C, config.ffn_expand * C)
    shapes["norm.weight"] = (C,)
    return shapes


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
    """Shape of each part of the recurrent state for one sequence: [L, ...] without the batch dimension."""
    L = config.num_layers
    shapes: dict[str, tuple[int, ...]] = {}
    if "rwkv" in config.mixers:
        shapes["rwkv_state"] = (L, config.num_heads, config.head_dim, config.head_dim)
        shapes["rwkv_shift"] = (L, config.hidden_size)
    if "mamba" in config.mixers:
        shapes["mamba_state"] = (L, config.mamba_heads, config.mamba_head_dim, config.d_state)
        shapes["mamba_conv"] = (L, config.conv_dim, config.conv_width - 1)
    return shapes


def parameter_counts(config: ModelConfig) -> tuple[int, int]:
    """Parameters in total, and without the (tied) embedding."""
    shapes = parameter_shapes(config)
    total = sum(prod(shape) for shape in shapes.values())
    return total, total - prod(shapes["embedding.weight"])
