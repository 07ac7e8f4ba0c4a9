"""What the shapes of published weights, and a `config.json` beside them, say of their model. Imports no torch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import msgspec

from gt.models.published_config import (
    KINDS,
    Naming,
    PublishedConfig,
    PublishedMamba2,
    PublishedRWKV6,
    Shapes,
    official_name,
)

# Mamba-2 as published; settings under which the same tensors would mean another model.
_SETTINGS: dict[str, tuple[Any, ...]] = {
    "model_type": ("mamba2",),
    "layer": ("Mamba2",),
    "hidden_act": ("silu", "swish"),
    "activation": ("silu", "swish"),
    "layer_norm_epsilon": (1e-5,),
    "rms_norm": (True,),
    "rmsnorm": (True,),
    "norm_before_gate": (False,),
    "time_step_limit": ([0.0, math.inf],),
    "dt_limit": ([0.0, math.inf],),
}
_MAX_D_STATE = 256  # the most that mamba_ssm's selective scan takes; more is several groups


def naming_of(kind: str, names: Collection[str]) -> Naming:
    """Who named the tensors of a file.

    Args:
        kind: "rwkv6" or "mamba2".
        names: Names in the file.
    """
    if kind == "rwkv6":
        return "rwkv6"
    return "transformers" if official_name("embedding.weight", "transformers") in names else "mamba_ssm"


def _dimension(shapes: Shapes, naming: Naming) -> Callable[[str, int], int]:
    """A look-up of one dimension of a tensor; 1 where it has none, so that comparing afterwards tells what is wrong."""

    def dimension(name: str, axis: int) -> int:
        shape = shapes.get(official_name(name, naming), ())
        return shape[axis] if len(shape) > axis and isinstance(shape[axis], int) and shape[axis] > 0 else 1

    return dimension


def _num_layers(shapes: Shapes, naming: Naming) -> int:
    before, _, _ = official_name("blocks.N.x.y", naming).partition("N")
    layer = re.compile(re.escape(before) + r"(\d+)\.")
    return max(len({match[1] for name in shapes if (match := layer.match(name))}), 1)


def _compare(path: Path, shapes: Shapes, config: PublishedConfig, naming: Naming) -> None:
    """Refuse weights whose tensors are not exactly those of `config`."""
    expected = {official_name(name, naming): shape for name, shape in config.parameter_shapes().items()}
    missing, unknown = sorted(expected.keys() - shapes.keys()), sorted(shapes.keys() - expected.keys())
    wrong = sorted(name for name in expected.keys() & shapes.keys() if shapes[name] != expected[name])
    problems = [
        f"{verb} {len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for verb, what, names in (("lacks", "tensors", missing), ("has", "unknown tensors", unknown))
        if names
    ]
    if wrong and not problems:
        some = "; ".join(f"{name} is {list(shapes[name])}, expected {list(expected[name])}" for name in wrong[:3])
        problems.append(f"{len(wrong)} tensors do not fit the others ({some})")
    if problems:
        label = KINDS[config.kind]
        raise ValueError(f"{path} is no {label} language model: {'; '.join(problems)}: give the weights of one")


def rwkv6_config(path: Path, shapes: Shapes) -> PublishedRWKV6:
    """The configuration of an RWKV-6 x060 language model.

    Args:
        path: Where the shapes are from, for errors.
        shapes: Name and shape of every tensor.

    Raises:
        ValueError: If tensors are missing, unknown or of another shape.
    """
    dimension = _dimension(shapes, "rwkv6")
    config = PublishedRWKV6(
        vocab_size=dimension("embedding.weight", 0),
        num_layers=_num_layers(shapes, "rwkv6"),
        hidden_size=dimension("embedding.weight", 1),
        num_heads=dimension("blocks.0.rwkv.time_faaaa", 0),
        ffn_size=dimension("blocks.0.ffn.key.weight", 0),
        lora_mix=dimension("blocks.0.rwkv.time_maa_w2", 1),
        lora_decay=dimension("blocks.0.rwkv.time_decay_w1", 1),
    )
    _compare(path, shapes, config, "rwkv6")
    return config


def mamba2_config(path: Path, shapes: Shapes, naming: Naming) -> PublishedMamba2:
    """The configuration of a Mamba-2 language model, and what the `config.json` beside it adds.

    Args:
        path: Weight file or folder that the shapes are from.
        shapes: Name and shape of every tensor.
        naming: Who named them.

    Raises:
        ValueError: If tensors are missing, unknown or of another shape, or `config.json` contradicts them.
    """
    dimension = _dimension(shapes, naming)
    hidden_size = dimension("embedding.weight", 1)
    d_inner = dimension("blocks.0.mamba.norm.weight", 0)
    has_head = official_name("head.weight", naming) in shapes
    as_one_group = PublishedMamba2(
        vocab_size=dimension("embedding.weight", 0),
        num_layers=_num_layers(shapes, naming),
        hidden_size=hidden_size,
        d_state=max(dimension("blocks.0.mamba.conv1d.weight", 0) - d_inner, 2) // 2,
        mamba_head_dim=max(d_inner // dimension("blocks.0.mamba.A_log", 0), 1),
        expand=d_inner // hidden_size,
        conv_width=dimension("blocks.0.mamba.conv1d.weight", 2),
        num_groups=1,
        norm_groups=1,
        tied=not has_head,
    )
    _compare(path, shapes, as_one_group, naming)
    settings = _read_settings(path)
    num_groups = _num_groups(path, as_one_group, settings)
    # mamba_ssm stores the head of a tied model as well, and ties unless told otherwise.
    tied = settings.get("tie_word_embeddings", settings.get("tie_embeddings", "d_model" in settings))
    return msgspec.structs.replace(
        as_one_group,
        num_groups=num_groups,
        d_state=as_one_group.d_state // num_groups,
        norm_groups=1 if naming == "transformers" else num_groups,
        tied=bool(tied) or not has_head,
    )


def _num_groups(path: Path, as_one_group: PublishedMamba2, settings: dict[str, Any]) -> int:
    product, heads = as_one_group.d_state, as_one_group.mamba_heads
    num_groups = settings.get("n_groups", settings.get("ngroups", 1))
    d_state = settings.get("state_size", settings.get("d_state"))
    if not isinstance(num_groups, int) or num_groups < 1 or product % num_groups or heads % num_groups:
        raise ValueError(
            f"{path} has {heads} heads and groups * state size = {product}, but its config.json says {num_groups!r} "
            "groups: correct it"
        )
    if d_state is not None and num_groups * d_state != product:
        raise ValueError(
            f"{path} has groups * state size = {product}, but its config.json says {num_groups} * {d_state!r}: "
            "correct it"
        )
    if d_state is None and product // num_groups > _MAX_D_STATE:
        raise ValueError(
            f"{path} has groups * state size = {product}, more than one group can have ({_MAX_D_STATE}): put the "
            "config.json with n_groups (transformers) or ngroups in ssm_cfg (mamba_ssm) beside it"
        )
    return num_groups


def _read_settings(path: Path) -> dict[str, Any]:
    """The `config.json` beside Mamba-2 weights, flat; empty if there is none."""
    file = (path if path.is_dir() else path.parent) / "config.json"
    if not file.is_file():
        return {}
    try:
        # transformers 5 writes infinity as {"__float__": "Infinity"}, others as the word alone.
        content = json.loads(
            file.read_bytes(), object_hook=lambda one: float(one["__float__"]) if "__float__" in one else one
        )
        settings = {**content, **content.get("ssm_cfg", {})}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is no model's configuration ({error!r}): copy it again") from error
    for name, allowed in _SETTINGS.items():
        if name in settings and settings[name] not in allowed:
            raise ValueError(
                f"{file} says {name} = {settings[name]!r}, the published Mamba-2 has {allowed[0]!r}: "
                "give the weights of one, in a folder of their own"
            )
    return settings
