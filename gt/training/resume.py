"""What resuming a run needs, in one file: weights in fp32, the optimiser, random numbers, the place in log and data.

The file is written as a whole or not at all; a run that is killed in the middle of a save goes on from the one before.
It holds tensors and JSON, so that reading it runs no code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from gt.checkpoint import WEIGHTS, write_atomically
from gt.training.config import FREE_TO_CHANGE, TrainConfig
from gt.training.step import Step

STATE = "training_state.safetensors"
SCHEMA = "groundthink.training_state/2"


def has_state(folder: Path) -> bool:
    """Whether a folder holds a run that can be resumed."""
    return (folder / STATE).is_file()


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder of a run, so that no second one writes into it.

    Raises:
        ValueError: If another process holds it.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"another process trains into {folder} now: wait for it, or give another --out") from None
    try:
        yield
    finally:
        lock.release()


def remove_run(folder: Path) -> None:
    """Remove what a run left, its tokenizer and log aside: nothing old may stand beside what a new one writes.

    The state goes first, so that no run is resumed of which a part is gone.
    """
    for name in (STATE, WEIGHTS, "config.json"):
        (folder / name).unlink(missing_ok=True)


def save_state(folder: Path, model: nn.Module, step: Step, record: dict[str, Any], extra: dict[str, Tensor]) -> None:
    """Write the state of a run.

    Args:
        folder: Folder of its checkpoint.
        model: The model.
        step: Its step.
        record: What is to come back with it, JSON types only.
        extra: Tensors that are to come back with it.
    """
    from safetensors.torch import save_file

    tensors = {f"extra.{name}": tensor for name, tensor in (*_steady(step), *extra.items())}
    tensors |= {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        moments = step.optimizer.state.get(parameter, {})
        tensors |= {f"optimizer.{name}.{key}": value for key, value in moments.items()}
    tensors["rng.cpu"] = torch.get_rng_state()
    if step.device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(step.device)
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"record": json.dumps({"schema": SCHEMA, **record})}
    write_atomically(folder / STATE, lambda partial: save_file(copies, partial, metadata=metadata))


def read_record(folder: Path) -> dict[str, Any]:
    """What a run left beside its tensors.

    Raises:
        ValueError: If there is no such state, or it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / STATE
    if not path.is_file():
        raise ValueError(f"{folder} holds no run to resume: expected {STATE}; start one without resume")
    try:
        with safe_open(path, framework="pt") as file:
            record: dict[str, Any] = json.loads(file.metadata()["record"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error}): start anew with overwrite") from error
    if record.get("schema") != SCHEMA:
        raise ValueError(f"{path} has schema {record.get('schema')!r}, this version reads {SCHEMA!r}: start anew")
    return record


@torch.no_grad()
def load_state(folder: Path, model: nn.Module, step: Step) -> dict[str, Tensor]:
    """Put the state of a run back where it was, in place, since a recorded step knows addresses.

    Returns:
        The extra tensors of `save_state`.
    """
    from safetensors.torch import load_file

    tensors = load_file(folder / STATE)
    weights = model.state_dict()
    for name, tensor in weights.items():
        tensor.copy_(tensors[f"model.{name}"])
    for name, parameter in model.named_parameters():
        prefix = f"optimizer.{name}."
        saved = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        for key, value in saved.items():
            own = step.optimizer.state[parameter]  # made when it is asked for
            if key in own:
                own[key].copy_(value)
            else:
                own[key] = value.to(parameter.device)
    for name, tensor in _steady(step):
        tensor.copy_(tensors[f"extra.{name}"])
    torch.set_rng_state(tensors["rng.cpu"])
    if step.device.type == "cuda" and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"], step.device)
    return {name.removeprefix("extra."): value for name, value in tensors.items() if name.startswith("extra.")}


def _steady(step: Step) -> tuple[tuple[str, Tensor], ...]:
    return (("scale", step.scale.scale), ("steady", step.scale.steady)) if step.scale else ()


def settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that a resumed run must share with its start, JSON types only."""
    return {name: value for name, value in config.recorded().items() if name not in FREE_TO_CHANGE}


def refuse_differences(folder: Path, record: dict[str, Any], config: TrainConfig, hashes: dict[str, str]) -> None:
    """Find out whether a run may go on under these settings with this text.

    Raises:
        ValueError: One line that names the first difference.
    """
    for what, then, now in (
        ("", record["settings"], settings(config)),
        ("the text of ", record["hashes"], hashes),
    ):
        for name in sorted(then.keys() | now.keys()):
            if then.get(name) != now.get(name):
                raise ValueError(
                    f"cannot resume {folder}: {what}{name} is {now.get(name)!r}, the run was started with "
                    f"{then.get(name)!r}; give what it was started with, or start anew"
                )
    if config.steps < record["step"]:
        raise ValueError(
            f"cannot resume {folder}: steps is {config.steps}, but the run has taken {record['step']} already"
        )
