"""Which weights moved from one checkpoint to another, and whether one grew out of the other. Any two of them compare.

Two trainings from different seeds share nothing: the cosine of two independent random matrices of n numbers has mean 0
and a standard deviation of 1 / sqrt(n). One that goes on from another, or is a larger model whose weights began as a
smaller one's, keeps a cosine far above that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from torch import Tensor

from gt.checkpoint import WEIGHTS, load_tensors
from gt.models.config import ModelConfig

NOISE = 6.0
"""Standard deviations of chance above which a cosine is none; of a million matrices one is expected beyond 4.9."""

RELATED = 0.1
"""Least cosine that counts as kept: below, what training has in common everywhere could be seen, and not an origin."""

LEAST_NUMBERS = 1024
"""Numbers of a matrix that tells of its origin: of smaller ones chance alone has cosines of 0.1 and more."""

_PLACE = re.compile(r"(?:^|\.)(\d+)\.(.+)$")

Weights = dict[str, Tensor]
Origin = Literal["the same", "related", "unrelated", "unknown"]


class TensorDrift(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor, or one part of a tensor that several are stacked in.

    Attributes:
        name: Its name in the first checkpoint, with the part in brackets.
        other: Its name in the second; another one where layers were matched.
        layer: Layer in the first; None outside of the layers.
        component: Module within the layer, e.g. "rwkv".
        shape: Shape in the first.
        other_shape: Shape in the second.
        block: What is compared: the leading part that both have, all of it where the shapes are equal.
        relative: L2 norm of the difference over that of the first; None where the first is zero.
        cosine: Of both as vectors; None where one is zero.
        norm: L2 norm of the first's block.
        other_norm: L2 norm of the second's.
        moved: L2 norm of the difference.
        origin: What a random matrix tells of where it came from; "unknown" of all others.
    """

    name: str
    other: str
    layer: int | None
    component: str
    shape: tuple[int, ...]
    other_shape: tuple[int, ...]
    block: tuple[int, ...]
    relative: float | None
    cosine: float | None
    norm: float
    other_norm: float
    moved: float
    origin: Origin


class GroupDrift(msgspec.Struct, frozen=True, kw_only=True):
    """All tensors of a component in a layer; `layer` is None outside of the layers, or for all layers together."""

    layer: int | None
    component: str
    tensors: int
    relative: float | None
    cosine: float | None


class WeightDrift(msgspec.Struct, frozen=True, kw_only=True):
    """What the weights of two checkpoints differ by.

    Attributes:
        tensors: Every tensor that both have, the one that moved most first.
        components: The same by component, over all layers.
        layers: The same by layer and component.
        missing: Tensors of the first that the second lacks, or has with another number of dimensions.
        added: Tensors of the second that the first lacks.
        resized: Number of tensors of which only a block is compared.
        matched_layers: Layer of the second for each of the first, where their numbers differ.
        skipped: Tensors that do not compare, with the reason.
        judged: Random matrices that tell of an origin.
        related: How many of these are the same or related.
    """

    tensors: tuple[TensorDrift, ...]
    components: tuple[GroupDrift, ...]
    layers: tuple[GroupDrift, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]
    resized: int
    matched_layers: dict[int, int]
    skipped: dict[str, str]
    judged: int
    related: int


def weights_of(path: Path) -> Weights:
    """The tensors of a checkpoint folder or of a `.safetensors` or `.pt` file, as they were saved.

    Raises:
        ValueError: If there are none.
    """
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"no weights at {file}: expected a folder with {WEIGHTS}, or a .safetensors or .pt file")
    try:
        return load_tensors(file)
    except Exception as error:  # safetensors and torch raise their own in many ways
        raise ValueError(f"{file} cannot be read: {error}") from error


def weight_drift(
    first: Weights,
    second: Weights,
    configs: tuple[ModelConfig, ModelConfig] | None = None,
    same_tokens: bool = True,
) -> WeightDrift:
    """Compare the weights of two checkpoints, tensor by tensor.

    Tensors of one name are compared; where one is larger, its leading block of the other's size, which is where an
    expansion keeps the smaller model. Parts that are stacked in one tensor are compared each with its own. Where the
    numbers of layers differ, each layer of the one with fewer is compared with that layer of the other which is most
    like it, or where none is like any, with that of its own number.

    Args:
        first: Weights, as `weights_of` returns them.
        second: The others.
        configs: Configurations of both, where they are models of this project: tells the parts of stacked tensors.
        same_tokens: Whether both have the same tokenizer; otherwise the rows of an embedding are different tokens.
    """
    skipped = {} if same_tokens else {name: "its rows are other tokens" for name in first if _is_embedding(name)}
    parts = [_parts(weights, configs and configs[index]) for index, weights in enumerate((first, second))]
    for found in parts:
        for name in skipped:
            found.pop(name, None)
    matched = _matched_layers(*parts)
    names = {name: _renamed(name, matched) for name in parts[0]}
    drifts, missing = [], []
    for name, other in names.items():
        theirs = parts[1].get(other)
        if theirs is None or theirs.ndim != parts[0][name].ndim:
            missing.append(name)
        else:
            drifts.append(_tensor_drift(name, other, parts[0][name], theirs))
    judged = [one for one in drifts if one.origin != "unknown"]
    order = sorted(drifts, key=lambda one: -math.inf if one.relative is None else one.relative, reverse=True)
    places = sorted({(-1 if one.layer is None else one.layer, one.component) for one in drifts})
    return WeightDrift(
        tensors=tuple(order),
        components=tuple(
            _group(None, component, [one for one in drifts if one.component == component])
            for component in dict.fromkeys(one.component for one in drifts)
        ),
        layers=tuple(
            _group(layer, component, [one for one in drifts if (one.layer, one.component) == (layer, component)])
            for layer, component in places
            if layer >= 0
        ),
        missing=tuple(missing),
        added=tuple(sorted(parts[1].keys() - names.values())),
        resized=sum(one.shape != one.other_shape for one in drifts),
        matched_layers=matched,
        skipped=skipped,
        judged=len(judged),
        related=sum(one.origin != "unrelated" for one in judged),
    )


def place(name: str) -> tuple[int | None, str]:
    """Layer and component of a tensor, from its name: `blocks.3.rwkv.key.weight` is (3, "rwkv"); norms are one."""
    found = _PLACE.search(name)
    layer, rest = (int(found[1]), found[2]) if found else (None, name)
    component = rest.partition(".")[0]
    return layer, "norms" if component.endswith("norm") else component


def _is_embedding(name: str) -> bool:
    return "embed" in name or name.endswith(("lm_head.weight", "wte.weight"))


def _parts(weights: Weights, config: ModelConfig | None) -> Weights:
    """The tensors, those of several parts by part: Mamba-2 stacks z, x, B, C and dt, GPT-2 query, key and value."""
    if config is None:
        return dict(weights)
    state = config.num_groups * config.d_state
    convolved = {"x": config.d_inner, "B": state, "C": state}
    sizes = {
        "mamba.in_proj.weight": {"z": config.d_inner, **convolved, "dt": config.mamba_heads},
        "mamba.conv1d.weight": convolved,
        "mamba.conv1d.bias": convolved,
        "attention.qkv.weight": dict.fromkeys("qkv", config.hidden_size),
        "attention.qkv.bias": dict.fromkeys("qkv", config.hidden_size),
    }
    found: Weights = {}
    for name, tensor in weights.items():
        stacked = next((own for ending, own in sizes.items() if name.endswith(ending)), None)
        if stacked is None or sum(stacked.values()) != len(tensor):
            found[name] = tensor
        else:
            pieces = tensor.split(list(stacked.values()))
            found |= {f"{name}[{part}]": piece for part, piece in zip(stacked, pieces, strict=True)}
    return found


def _blocks(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The leading block that both have, as vectors in fp64."""
    block = tuple(slice(min(sizes)) for sizes in zip(first.shape, second.shape, strict=True))
    return first[block].double().flatten(), second[block].double().flatten()


def _tensor_drift(name: str, other: str, mine: Tensor, theirs: Tensor) -> TensorDrift:
    a, b = _blocks(mine, theirs)
    norm, moved = float(a.norm()), float((b - a).norm())
    cosine = _cosine(a, b)
    layer, component = place(name)
    return TensorDrift(
        name=name,
        other=other,
        layer=layer,
        component=component,
        shape=tuple(mine.shape),
        other_shape=tuple(theirs.shape),
        block=tuple(min(sizes) for sizes in zip(mine.shape, theirs.shape, strict=True)),
        relative=moved / norm if norm else None,
        cosine=cosine,
        norm=norm,
        other_norm=float(b.norm()),
        moved=moved,
        origin=_origin(name, mine, a.numel(), moved, cosine),
    )


def _origin(name: str, tensor: Tensor, numbers: int, moved: float, cosine: float | None) -> Origin:
    """What a tensor tells of where it came from: only matrices begin at random, and vectors begin alike everywhere."""
    if not _is_random(name, tensor) or numbers < LEAST_NUMBERS or cosine is None:
        return "unknown"
    if not moved:
        return "the same"
    return "related" if cosine > max(RELATED, NOISE / math.sqrt(numbers)) else "unrelated"


def _is_random(name: str, tensor: Tensor) -> bool:
    return tensor.ndim == 2 and min(tensor.shape) > 1 and ".weight" in name


def _cosine(a: Tensor, b: Tensor) -> float | None:
    norms = float(a.norm() * b.norm())
    return max(-1.0, min(1.0, float(a @ b) / norms)) if norms else None


def _matched_layers(first: Weights, second: Weights) -> dict[int, int]:
    """Layer of the second for each of the first; empty where they have the same number of layers.

    Where the first has fewer, each of its layers has one; where it has more, those that none is most like have none.
    """
    counts = [
        sorted({layer for name in weights if (layer := place(name)[0]) is not None}) for weights in (first, second)
    ]
    if len(counts[0]) == len(counts[1]) or not all(counts):
        return {}
    swapped = len(counts[0]) > len(counts[1])
    (small, few), (large, many) = sorted(zip((first, second), counts, strict=True), key=lambda pair: len(pair[1]))
    likeness = {one: {other: _likeness(small, one, large, other) for other in many} for one in few}
    if all(value < RELATED for found in likeness.values() for value in found.values()):
        return {one: one for one in few}  # nothing is kept: any other order would be chance's
    chosen = {one: max(many, key=lambda other: (found[other], -abs(other - one))) for one, found in likeness.items()}
    return {other: one for one, other in chosen.items()} if swapped else chosen


def _likeness(small: Weights, one: int, large: Weights, other: int) -> float:
    """Mean cosine of the random matrices of two layers."""
    cosines = []
    for name, tensor in small.items():
        theirs = large.get(_renamed(name, {one: other}))
        if place(name)[0] == one and theirs is not None and theirs.ndim == tensor.ndim and _is_random(name, tensor):
            cosines.append(_cosine(*_blocks(tensor, theirs)) or 0.0)
    return sum(cosines) / len(cosines) if cosines else 0.0


def _renamed(name: str, layers: dict[int, int]) -> str:
    """The name with the number of its layer replaced; of a layer without a match a name that no tensor has."""
    found = _PLACE.search(name)
    if not layers or found is None:
        return name
    number = layers.get(int(found[1]))
    return f"{name[: found.start(1)]}{'none' if number is None else number}{name[found.end(1) :]}"


def _group(layer: int | None, component: str, drifts: Sequence[TensorDrift]) -> GroupDrift:
    norm = math.sqrt(sum(one.norm**2 for one in drifts))
    other = math.sqrt(sum(one.other_norm**2 for one in drifts))
    moved = math.sqrt(sum(one.moved**2 for one in drifts))
    products = sum(one.norm * one.other_norm * (one.cosine or 0.0) for one in drifts)
    return GroupDrift(
        layer=layer,
        component=component,
        tensors=len(drifts),
        relative=moved / norm if norm else None,
        cosine=max(-1.0, min(1.0, products / (norm * other))) if norm and other else None,
    )
