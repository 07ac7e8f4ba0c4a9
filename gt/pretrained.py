"""Published weights on disk: which files they are, what shape their model has, and the model itself.

RWKV-6 x060 comes as RWKV-LM saves it; Mamba-2 with the names of mamba_ssm or of transformers. On a command line they
are `rwkv6:PATH` and `mamba2:PATH`. Inspecting reads headers only and needs no torch; loading never runs code from a
file.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gt import registry
from gt.checkpoint import (
    CheckpointInfo,
    Shapes,
    load_tensors,
    read_pt_header,
    read_safetensors_header,
    sha256_of,
    tokenizer_vocab_size,
)
from gt.models.published_config import KINDS, PublishedConfig, official_name
from gt.pretrained_header import mamba2_config, naming_of, rwkv6_config

if TYPE_CHECKING:
    from gt.models.published import PublishedLM

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_FOLDER_NAMES = ("model.safetensors", "pytorch_model.bin")  # what transformers and mamba_ssm write


class PublishedModel(msgspec.Struct, frozen=True, kw_only=True):
    """Published weights at a scale, before they are loaded.

    Attributes:
        config: Shape of the model.
        checkpoint: The weights.
        scale: Name of the scale whose requirements the model must meet.
    """

    config: PublishedConfig
    checkpoint: CheckpointInfo
    scale: str

    @property
    def name(self) -> str:
        """Kind, file or folder and scale, e.g. "rwkv6:RWKV-x060-World-1B6.pth@3.5M"; fit for the ids of tests."""
        place = re.sub(r"[^\w.+-]", "_", self.checkpoint.path.name, flags=re.ASCII)
        return f"{self.config.kind}:{place}@{self.scale}"

    @property
    def capabilities(self) -> frozenset[str]:
        """What this kind of model offers to the checks."""
        return registry.RECURRENT


def split_name(name: str) -> tuple[str, str] | None:
    """Kind and path of `KIND:PATH`, the kind in any case; None for any other name of a model."""
    kind, colon, path = name.partition(":")
    kind = kind.strip().lower()
    return (kind, path) if colon and kind in KINDS else None


def find_published(name: str, scale: str | None = None) -> PublishedModel | None:
    """The published model of a name `rwkv6:PATH` or `mamba2:PATH`; None for any other name.

    Args:
        name: As on the command line. PATH is a weight file or folder (see `weight_files`), may begin with `~`, and is
            relative to the current folder.
        scale: Scale whose requirements it must meet; 3.5M by default.

    Raises:
        ValueError: In one line, if there is no path, the scale does not exist, or as `inspect_published` does.
    """
    parts = split_name(name)
    if parts is None:
        return None
    kind, text = parts
    if not text.strip():
        raise ValueError(f"model {name!r} names no weights: expected {kind}:PATH, a weight file or a folder with one")
    try:
        path = Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"no weights at {text}: {error}") from None
    canonical = registry.canonical_scale(scale or registry.DEFAULT_SCALE, name)
    config = inspect_published(kind, path)
    checkpoint = CheckpointInfo(
        path=path, config=None, sha256=sha256_of(*weight_files(path)), tokenizer=find_tokenizer(path)
    )
    return PublishedModel(config=config, checkpoint=checkpoint, scale=canonical)


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files that hold published weights: the file itself, or those of a folder.

    Args:
        path: A file, or a folder with an index of shards, `model.safetensors`, `pytorch_model.bin`, or one weight file.

    Raises:
        ValueError: If there are none, or it is not clear which.
    """
    kinds = ", ".join(SUFFIXES)
    if not path.is_dir():
        if not path.is_file():
            raise ValueError(f"no weights at {path}: expected a file ({kinds}) or a folder with one")
        if path.suffix not in SUFFIXES:
            raise ValueError(f"{path} is no weight file: expected one of {kinds}, or a folder with one")
        return (path,)
    for name in _FOLDER_NAMES:
        index = path / f"{name}.index.json"
        if index.is_file():
            return _shards(index)
        if (path / name).is_file():
            return (path / name,)
    found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
    if len(found) != 1:
        names = f" ({', '.join(file.name for file in found[:3])}, ...)" if found else ""
        raise ValueError(
            f"{path} holds {len(found)} weight files{names}, expected one of {kinds}: name the file itself"
        )
    return (found[0],)


def _shards(index: Path) -> tuple[Path, ...]:
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        foreign = [name for name in names if Path(name).name != name or Path(name).suffix not in SUFFIXES]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no index of shards ({error!r}): copy it again") from error
    if foreign or not names:
        raise ValueError(f"{index} names {foreign[:3]}, expected weight files beside it: copy it again")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        some = ", ".join(missing[:3])
        raise ValueError(f"{index.parent} lacks {len(missing)} of {len(names)} shards ({some}): copy them as well")
    return tuple(index.parent / name for name in names)


def find_tokenizer(path: Path) -> Path | None:
    """The `tokenizer.json` of published weights: in their folder, or beside the file. Text checks need it."""
    tokenizer = (path if path.is_dir() else path.parent) / "tokenizer.json"
    return tokenizer if tokenizer.is_file() else None


def inspect_published(kind: str, path: Path) -> PublishedConfig:
    """The configuration of published weights, from the shapes in their headers.

    What shapes leave open is read from a `config.json` beside them: the groups of Mamba-2 (one without it) and whether
    a head that is stored is the embedding (a head of its own without it).

    Args:
        kind: "rwkv6" or "mamba2".
        path: Weight file or folder, see `weight_files`.

    Raises:
        ValueError: In one line, if there are no weights, a file is damaged or carries code, tensors are missing,
            unknown or of another shape, or the settings or the tokenizer beside them are of another model.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of published weights {kind!r}: expected {' or '.join(KINDS)}")
    shapes = _read_shapes(path)
    naming = naming_of(kind, shapes)
    config = rwkv6_config(path, shapes) if naming == "rwkv6" else mamba2_config(path, shapes, naming)
    tokenizer = find_tokenizer(path)
    if tokenizer is not None:
        tokens = tokenizer_vocab_size(tokenizer)
        if tokens > config.vocab_size:
            raise ValueError(
                f"{tokenizer} has {tokens} tokens, but {path} embeds {config.vocab_size}: "
                "put the tokenizer of these weights there"
            )
    return config


def load_published(config: PublishedConfig, path: Path) -> PublishedLM:
    """The model with its published weights, in fp32 on the CPU, ready to evaluate.

    Args:
        config: What `inspect_published` returned.
        path: Weight file or folder.

    Raises:
        ValueError: If the weights are not those of `config`, or a head that should be the embedding is not.
    """
    import torch

    from gt.models.published import PublishedLM

    found = inspect_published(config.kind, path)
    if found != config:
        raise ValueError(f"{path} holds {found}, expected {config}: inspect the same weights that are loaded")
    stored = {name: tensor for file in weight_files(path) for name, tensor in load_tensors(file).items()}
    naming = naming_of(config.kind, stored)
    weights = {name: stored.pop(official_name(name, naming)).float() for name in config.parameter_shapes()}
    for name, head in stored.items():  # what is left is the head of a tied model
        if not torch.equal(head.float(), weights["embedding.weight"]):
            raise ValueError(f"{path} has tied embeddings, but {name} differs: correct its config.json")
    with torch.device("meta"):
        model = PublishedLM(config)
    model.load_state_dict(weights, assign=True)
    return model.eval()


def _read_shapes(path: Path) -> Shapes:
    shapes: Shapes = {}
    for file in weight_files(path):
        shapes |= read_safetensors_header(file) if file.suffix == ".safetensors" else read_pt_header(file)
    return shapes
