"""Checkpoints on disk. Inspecting one reads headers only and needs no torch; loading one never runs its code.

A checkpoint is a folder with `model.safetensors`, `config.json`, `tokenizer.json` and `train_log.jsonl`. A legacy
`.pt` file (a state dict, or a dict that holds one) is read with `weights_only=True`.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from gt.models.config import ModelConfig, parameter_shapes
from gt.registry import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

SCHEMA = "groundthink.checkpoint/1"
WEIGHTS = "model.safetensors"
_HEADER_LIMIT = 100_000_000  # bytes; the format's own limit on its header
_ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}

Shapes = dict[str, tuple[int, ...]]


class CheckpointInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a checkpoint without loading it.

    Attributes:
        path: Folder or file.
        config: Configuration of the model inside; None where that is known otherwise.
        sha256: Of the weights file; of published weights in shards, of all of them in the order of their names.
        step: Optimiser steps behind it, if known.
        tokens: Tokens seen, if known.
        tokenizer: Its tokenizer file, if it has one.
        train_log: Its training log, if it has one.
    """

    path: Path
    config: ModelConfig | None
    sha256: str
    step: int | None = None
    tokens: int | None = None
    tokenizer: Path | None = None
    train_log: Path | None = None


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    schema: str
    model: ModelConfig
    step: int
    tokens: int
    tokenizer_sha256: str | None = None
    training: dict[str, Any] = {}


def inspect_checkpoint(path: Path, spec: ModelSpec) -> CheckpointInfo:
    """Check a checkpoint against the model that is asked for, from its headers.

    Args:
        path: Folder, or a `.pt` file.
        spec: The model that it should hold.

    Raises:
        ValueError: One line with what was got, what was expected and what to do: if it is missing, damaged, carries
            code, or holds another variant, scale or vocabulary than expected.
    """
    if path.is_dir():
        return _inspect_folder(path, spec)
    if not path.exists():
        raise ValueError(f"no checkpoint at {path}: expected a folder with {WEIGHTS} and config.json, or a .pt file")
    if path.suffix not in (".pt", ".pth"):
        raise ValueError(f"{path} is no checkpoint: expected a folder with {WEIGHTS} and config.json, or a .pt file")
    shapes = read_pt_header(path)
    vocab_size = shapes.get("embedding.weight", (0, 0))[0]
    config = spec.config(vocab_size)
    require_shapes(path, shapes, parameter_shapes(config), spec.name)
    return CheckpointInfo(path=path, config=config, sha256=sha256_of(path))


def _inspect_folder(path: Path, spec: ModelSpec) -> CheckpointInfo:
    for name in (WEIGHTS, "config.json", "tokenizer.json"):
        if not (path / name).is_file():
            raise ValueError(f"checkpoint {path} has no {name}: it is not complete")
    try:
        header = msgspec.json.decode((path / "config.json").read_bytes(), type=_Header)
    except (msgspec.MsgspecError, OSError) as error:
        raise ValueError(f"{path / 'config.json'} is not a checkpoint's configuration: {error}") from error
    if header.schema != SCHEMA:
        raise ValueError(f"{path / 'config.json'} has schema {header.schema!r}, this version reads {SCHEMA!r}")
    got = f"{header.model.variant}@{header.model.scale}"
    if got != spec.name:
        raise ValueError(f"checkpoint {path} holds {got}, but {spec.name} was asked for: use --model {got}")
    expected = spec.config(header.model.vocab_size)
    for field in ModelConfig.__struct_fields__:
        if getattr(header.model, field) != getattr(expected, field):
            raise ValueError(
                f"{path / 'config.json'} says {field} = {getattr(header.model, field)!r}, but {spec.name} has "
                f"{getattr(expected, field)!r}: the checkpoint is of another shape than its name"
            )
    tokenizer = path / "tokenizer.json"
    vocab_size = tokenizer_vocab_size(tokenizer)
    if vocab_size != header.model.vocab_size:
        raise ValueError(
            f"{tokenizer} has {vocab_size} tokens, but the checkpoint's model has {header.model.vocab_size}: "
            "it is another model's tokenizer"
        )
    if header.tokenizer_sha256 not in (None, sha256_of(tokenizer)):  # None: written before it was kept
        raise ValueError(
            f"{tokenizer} is not the tokenizer that the checkpoint's model was trained with (SHA-256 "
            f"{header.tokenizer_sha256[:12]}...): put that one there, or train anew"
        )
    require_shapes(path, read_safetensors_header(path / WEIGHTS), parameter_shapes(header.model), spec.name)
    train_log = path / "train_log.jsonl"
    return CheckpointInfo(
        path=path,
        config=header.model,
        sha256=sha256_of(path / WEIGHTS),
        step=header.step,
        tokens=header.tokens,
        tokenizer=tokenizer,
        train_log=train_log if train_log.is_file() else None,
    )


def read_training(path: Path) -> dict[str, Any]:
    """Settings and outcome of the run that made a checkpoint folder, as its `config.json` has them."""
    return msgspec.json.decode((path / "config.json").read_bytes(), type=_Header).training


def inspect_user_checkpoint(path: Path) -> CheckpointInfo:
    """Check the weights of a model of the user's own as far as headers go; what fits is known once it is built.

    Args:
        path: Folder with `model.safetensors`, and with `tokenizer.json` and `train_log.jsonl` where there are such; or
            a `.pt` or `.safetensors` file.

    Raises:
        ValueError: One line: if it is missing, damaged or carries code.
    """
    weights = path / WEIGHTS if path.is_dir() else path
    if not weights.exists():
        raise ValueError(f"no weights at {weights}: expected a folder with {WEIGHTS}, or a .safetensors or .pt file")
    if weights.suffix == ".safetensors":
        read_safetensors_header(weights)
    elif weights.suffix in (".pt", ".pth"):
        read_pt_header(weights)
    else:
        raise ValueError(f"{path} is no checkpoint: expected a folder with {WEIGHTS}, or a .safetensors or .pt file")
    tokenizer, train_log = path / "tokenizer.json", path / "train_log.jsonl"  # beside a single file there are none
    return CheckpointInfo(
        path=path,
        config=None,
        sha256=sha256_of(weights),
        tokenizer=tokenizer if tokenizer.is_file() else None,
        train_log=train_log if train_log.is_file() else None,
    )


def require_shapes(path: Path, got: Shapes, expected: Shapes, name: str) -> None:
    """Refuse weights that are not those of a model.

    Raises:
        ValueError: One line with what is missing, unknown or of another shape.
    """
    missing = sorted(expected.keys() - got.keys())
    extra = sorted(got.keys() - expected.keys())
    wrong = sorted(key for key in expected.keys() & got.keys() if got[key] != expected[key])
    problems = []
    if missing:
        problems.append(f"lacks {len(missing)} tensors ({missing[0]}, ...)")
    if extra:
        problems.append(f"has {len(extra)} unknown tensors ({extra[0]}, ...)")
    if wrong:
        problems.append(f"{wrong[0]} is {list(got[wrong[0]])}, expected {list(expected[wrong[0]])}")
    if problems:
        raise ValueError(f"checkpoint {path} is no {name}: {'; '.join(problems)}")


def read_safetensors_header(path: Path) -> Shapes:
    """Names and shapes in a safetensors file.

    Raises:
        ValueError: If the header is damaged or the file is shorter than its header says.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size, _HEADER_LIMIT):
            raise ValueError(f"{path} is truncated or no safetensors file ({size:,} bytes): copy it again")
        try:
            entries = json.loads(file.read(length))
            entries.pop("__metadata__", None)
            shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
            end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
            unknown = {entry["dtype"] for entry in entries.values()} - _ITEM_BYTES.keys()
            needed = sum(prod(entry["shape"]) * _ITEM_BYTES.get(entry["dtype"], 0) for entry in entries.values())
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} has a damaged header ({error!r}): copy it again") from error
    if unknown:
        raise ValueError(f"{path} has tensors of type {min(unknown)}, which is not supported: save them as BF16 or F32")
    if size != 8 + length + end or end != needed:
        raise ValueError(f"{path} is truncated: {size:,} bytes, its header says {8 + length + end:,}: copy it again")
    return shapes


class _TensorStub:
    """Stands for a tensor of a `.pt` file: its shape, nothing else."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


class _HeaderUnpickler(pickle.Unpickler):
    """Reads the structure of a `.pt` file; any global beyond tensors and containers is refused, never called."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")):
            return lambda storage, offset, size, *rest: _TensorStub(tuple(size))
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *rest: data
        if module == "torch" and (name.endswith("Storage") or name == "Size"):
            return tuple if name == "Size" else name
        raise ValueError(f"it refers to {module}.{name}, which would run code")

    def persistent_load(self, pid: Any) -> Any:
        return pid


def read_pt_header(path: Path) -> Shapes:
    """Names and shapes of the state dict in a `.pt` file, without torch and without running anything in it.

    Raises:
        ValueError: If it is damaged, carries code, or holds no state dict.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = [n for n in archive.namelist() if n.endswith("/data.pkl")]
            with archive.open(name) as file:
                content = _HeaderUnpickler(file).load()
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is truncated or no .pt file of torch 1.6 or later: copy or save it again") from error
    except Exception as error:  # a pickle can fail in any way
        raise ValueError(
            f"{path} is refused: {error}; save the weights alone: torch.save(model.state_dict(), ...)"
        ) from error
    state = _state_dict(content)
    if state is None:
        raise ValueError(f"{path} holds no state dict: expected one, or a dict with it under 'model'")
    return {name: value.shape for name, value in state.items()}


def _state_dict(content: Any) -> dict[str, Any] | None:
    """The state dict in what a `.pt` file holds: itself, or under a usual key."""
    if not isinstance(content, dict):
        return None
    for key in ("model", "model_state_dict", "state_dict"):
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    is_state = content and all(isinstance(k, str) and hasattr(v, "shape") for k, v in content.items())
    return content if is_state else None


def tokenizer_vocab_size(path: Path) -> int:
    """Number of tokens in a tokenizer.json, without the library.

    Raises:
        ValueError: If the file is no tokenizer.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return len(set(content["model"]["vocab"].values()) | {t["id"] for t in content.get("added_tokens", ())})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no tokenizer in the `tokenizers` JSON format: {error!r}") from error


def sha256_of(*paths: Path) -> str:
    """Hash of a file, or of several as if they were one, in this order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def load_weights(info: CheckpointInfo) -> dict[str, Tensor]:
    """The tensors of a checkpoint, on the CPU, in the precision that they were saved in."""
    return load_tensors(info.path / WEIGHTS if info.path.is_dir() else info.path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of the state dict in a `.pt` file, on the CPU as they were saved.

    Raises:
        ValueError: If a `.pt` file holds no state dict.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        weights: dict[str, Tensor] = load_file(path)
        return weights
    import torch

    state = _state_dict(torch.load(path, map_location="cpu", weights_only=True))
    if state is None:
        raise ValueError(f"{path} holds no state dict")
    return state


def load_into(model: nn.Module, weights: dict[str, Tensor], name: str, info: CheckpointInfo | None) -> None:
    """Put weights into a model.

    Args:
        model: The model.
        weights: Its state dict. Of tensors that are one and the same in the model (a head tied to its embedding) one is
            enough.
        name: Name of the model, for the error.
        info: Where the weights come from, for the error.

    Raises:
        ValueError: If they are not those of such a model.
    """
    own = model.state_dict(keep_vars=True)
    held = {id(tensor) for key, tensor in own.items() if key in weights}
    needed = {key: tensor for key, tensor in own.items() if key in weights or id(tensor) not in held}
    got, expected = ({key: tuple(tensor.shape) for key, tensor in of.items()} for of in (weights, needed))
    require_shapes(info.path if info else Path(), got, expected, name)
    model.load_state_dict(weights, strict=False)


def save_checkpoint(path: Path, model: nn.Module, *, step: int, tokens: int, training: dict[str, Any]) -> None:
    """Write weights (bf16) and configuration into a folder that holds the tokenizer and the log already.

    Args:
        path: Folder.
        model: A model with a `config`.
        step: Optimiser steps behind it.
        tokens: Tokens seen.
        training: Settings and outcome of the run, JSON types only.
    """
    import torch
    from safetensors.torch import save_file

    weights = {name: t.detach().to("cpu", torch.bfloat16).contiguous() for name, t in model.state_dict().items()}
    write_atomically(path / WEIGHTS, lambda partial: save_file(weights, partial))
    config = cast(ModelConfig, model.config)
    tokenizer = sha256_of(path / "tokenizer.json")
    header = _Header(
        schema=SCHEMA, model=config, step=step, tokens=tokens, tokenizer_sha256=tokenizer, training=training
    )
    encoded = msgspec.json.format(msgspec.json.encode(header), indent=2)
    write_bytes(path / "config.json", encoded + b"\n")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file as a whole or not at all, also where the machine stops in the middle.

    Args:
        path: The file.
        write: Called with the path to write to, beside it.
    """
    partial = path.with_name(path.name + ".partial")
    write(partial)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """`write_atomically` of content that is there already."""
    write_atomically(path, lambda partial: partial.write_bytes(content))
