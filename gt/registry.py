"""Which models exist, by name. Imports no torch: listing models is instant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from gt import user_models
from gt.models.config import ModelConfig
from gt.resources import fixtures_dir

DEFAULT_SCALE = "3.5M"
DEFAULT_VOCAB_SIZE = 8192


RECURRENT = frozenset({"states", "streaming", "generation", "kernels"})
HYBRID = RECURRENT | {"two_components"}


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table of variants.

    Attributes:
        name: Name on the command line.
        summary: One line for listings.
        mixers: Parallel mixers of a block.
        fusion: Key of `gt.models.fusion.FUSIONS`.
        gate_init: RWKV's share in the fusion at initialisation.
        capabilities: What the kind offers to the checks.
    """

    name: str
    summary: str
    mixers: tuple[str, ...] = ("rwkv", "mamba")
    fusion: str = "gated"
    gate_init: float = 0.5
    capabilities: frozenset[str] = HYBRID


VARIANTS: dict[str, Variant] = {
    row.name: row
    for row in (
        Variant(name="HY", summary="normed outputs, a gain per channel", fusion="gains", gate_init=0.7),
        Variant(name="GF", summary="gated fusion, balanced", gate_init=0.5),
        Variant(name="GF-MH", summary="gated fusion, Mamba-heavy", gate_init=0.3),
        Variant(name="GF-RH", summary="gated fusion, RWKV-heavy", gate_init=0.7),
        Variant(name="GF-XM", summary="gated fusion, extreme Mamba", gate_init=0.03),
        Variant(name="GF-XR", summary="gated fusion, extreme RWKV", gate_init=0.97),
        Variant(name="CP", summary="concatenated and projected", fusion="concatenated"),
        Variant(name="WS", summary="weighted sum, one weight", fusion="weighted", gate_init=0.5),
        Variant(name="RF", summary="RWKV plus 0.3 of Mamba", fusion="residual", gate_init=1 / 1.3),
        Variant(name="HGF", summary="a gate per channel, balanced", fusion="channel_gated", gate_init=0.5),
        Variant(name="HGF-MH", summary="a gate per channel, Mamba-heavy", fusion="channel_gated", gate_init=0.3),
        Variant(name="HGF-RH", summary="a gate per channel, RWKV-heavy", fusion="channel_gated", gate_init=0.7),
        Variant(name="RWKV6", summary="the same block, RWKV-6 alone", mixers=("rwkv",), capabilities=RECURRENT),
        Variant(name="Mamba2", summary="the same block, Mamba-2 alone", mixers=("mamba",), capabilities=RECURRENT),
        Variant(
            name="GPT2",
            summary="transformer of the size of GF-MH",
            mixers=("attention",),
            capabilities=frozenset({"streaming", "generation"}),
        ),
    )
}

ALIASES = {
    "TINY": "HY@TINY",
    "SMALL": "HY@3.5M",
    "5M": "HY@3.5M",
    "MEDIUM": "GF-MH@8M",
    "8M": "GF-MH@8M",
    "GPT2-3M": "GPT2@3.5M",
    "GPT2-8M": "GPT2@8M",
}
"""Names of the V4 documents and the model that each means: its first 5M model was HY, its 8M model GF-MH."""


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One model: a variant at a scale.

    Attributes:
        variant: Row of the table of variants.
        scale: Name of the scale, as in `fixtures/scales.yaml`.
        shape: `shape` of the scale, or its `transformer`.
    """

    variant: Variant
    scale: str
    shape: dict[str, int]

    @property
    def name(self) -> str:
        """Canonical name, e.g. "GF-MH@3.5M"."""
        return f"{self.variant.name}@{self.scale}"

    @property
    def capabilities(self) -> frozenset[str]:
        """What this kind of model offers to the checks: all of ours exist at every scale and can be trained alike."""
        return self.variant.capabilities | {"scales", "recipe"}

    def config(self, vocab_size: int = DEFAULT_VOCAB_SIZE) -> ModelConfig:
        """The configuration for a vocabulary."""
        hidden = self.shape["hidden"]
        return ModelConfig(
            variant=self.variant.name,
            scale=self.scale,
            vocab_size=vocab_size,
            num_layers=self.shape["layers"],
            hidden_size=hidden,
            num_heads=self.shape["heads"],
            mixers=self.variant.mixers,
            fusion=self.variant.fusion,
            gate_init=self.variant.gate_init,
            d_state=self.shape.get("d_state", 64),
            mamba_head_dim=64 if 2 * hidden >= 128 else 32,
            max_positions=self.shape.get("positions", 0),
        )


@cache
def _file() -> dict[str, dict[str, dict[str, Any]]]:
    import yaml

    path = fixtures_dir() / "scales.yaml"
    sections: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return sections


@cache
def _scales() -> dict[str, dict[str, Any]]:
    return {str(name): entry for name, entry in _file()["scales"].items()}


def limit(name: str) -> float:
    """What a measurement goes by at every scale: an entry of `limits` in `fixtures/scales.yaml`."""
    value: float = _file()["limits"][name]["value"]
    return value


def scales() -> list[str]:
    """Canonical names of all scales, the smallest first."""
    return list(_scales())


def neighbouring_scales(scale: str, known: Sequence[str] | None = None) -> tuple[str, str]:
    """The scale to fit on and the scale to predict, where what a larger model costs is to be foretold.

    They are the scale and the one that a GO leads to, or else the next larger; of the largest, the one before it and
    itself.

    Args:
        scale: One of those that are known.
        known: At least two scales, the smallest first; all by default.
    """
    known = known or scales()
    place, ahead = known.index(scale), _scales()[scale]["next"]
    if place == len(known) - 1:
        return known[place - 1], scale
    return scale, ahead if ahead in known else known[place + 1]


def scale_names() -> dict[str, str]:
    """Every name of a scale, in lower case, to its canonical name."""
    names = {name.lower(): name for name in _scales()}
    for name, entry in _scales().items():
        names |= {str(alias).lower(): name for alias in entry.get("aliases", ())}
    return names


def is_shipped(name: str) -> bool:
    """Whether a name without a scale is a variant or an alias, in any case."""
    return name.strip().upper() in {known.upper() for known in (*VARIANTS, *ALIASES)}


def _nearest(word: str, known: list[str]) -> str:
    by_lower = {name.lower(): name for name in known}
    near = [by_lower[key] for key in difflib.get_close_matches(word.lower(), by_lower, n=3, cutoff=0.4)]
    return f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}"


def resolve(name: str, scale: str | None = None) -> ModelSpec:
    """Find a model by name, `VARIANT[@SCALE]` or one of `ALIASES`, in any case.

    Args:
        name: E.g. "GF-MH", "gf-mh@3.5M", "GPT2-8M".
        scale: Scale of a bare variant name; 3.5M by default.

    Raises:
        ValueError: If the variant or the scale does not exist (naming the nearest that do), or two scales are given.
    """
    variant_name, _, own_scale = ALIASES.get(name.strip().upper(), name.strip()).partition("@")
    variants = {key.lower(): row for key, row in VARIANTS.items()}
    variant = variants.get(variant_name.lower())
    if variant is None:
        raise ValueError(
            f"unknown model {name!r}: {_nearest(variant_name, [*VARIANTS, *ALIASES, *user_models.names()])}"
        )
    canonical = canonical_scale(one_scale(name, own_scale, scale) or DEFAULT_SCALE, name)
    shape = "transformer" if "attention" in variant.mixers else "shape"
    return ModelSpec(variant=variant, scale=canonical, shape=_scales()[canonical][shape])


def one_scale(name: str, own_scale: str, scale: str | None) -> str | None:
    """The scale that a model's name or an option beside it gives, if any.

    Raises:
        ValueError: If both do and they differ.
    """
    if own_scale and scale and scale_names().get(own_scale.lower()) != scale_names().get(scale.lower()):
        raise ValueError(f"model {name!r} names the scale {own_scale}, but {scale} was asked for: give one of them")
    return own_scale or scale


def canonical_scale(scale: str, name: str) -> str:
    """The name of a scale as in `fixtures/scales.yaml`, from any of its names in any case.

    Raises:
        ValueError: If it does not exist, naming the nearest that do and the model that it was wanted for.
    """
    canonical = scale_names().get(scale.lower())
    if canonical is None:
        raise ValueError(f"unknown scale {scale!r} of model {name!r}: {_nearest(scale, list(_scales()))}")
    return canonical


def scale_sizes(scale: str) -> dict[str, int]:
    """How much is measured at a scale: `sizes` of `fixtures/scales.yaml`."""
    sizes: dict[str, int] = _scales()[scale]["sizes"]
    return sizes


def scale_claims(scale: str) -> int:
    """Tokens of context that a scale claims to use."""
    claimed: int = _scales()[scale]["claimed_context"]
    return claimed
