"""The weights that a run starts with in place of drawn ones: those of a checkpoint folder, and what was behind them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gt.checkpoint import CheckpointInfo, inspect_checkpoint, load_into, load_weights, read_training
from gt.registry import ModelSpec
from gt.training.config import TrainConfig

if TYPE_CHECKING:
    from torch import nn


def inspect_initial(config: TrainConfig, spec: ModelSpec) -> CheckpointInfo | None:
    """The checkpoint whose weights a run is to start with; None where they are drawn.

    Raises:
        ValueError: One line: if it is no checkpoint folder of such a model, or the folder that the run writes into.
    """
    if config.init is None:
        return None
    path = Path(config.init)
    if not path.is_dir():
        raise ValueError(f"init {path} is no folder: expected a checkpoint folder that groundthink train wrote")
    if path.resolve() == Path(config.out).resolve():
        raise ValueError(f"init and out are both {path}: expected two folders; give another --out, or --resume alone")
    return inspect_checkpoint(path, spec)


def start(model: nn.Module, config: TrainConfig, spec: ModelSpec) -> dict[str, Any]:
    """Give a model the weights that its run is to start with; returns their `lineage`, empty where they are drawn.

    Raises:
        ValueError: As `inspect_initial`.
    """
    info = inspect_initial(config, spec)
    if info is None:
        return {}
    load_into(model, load_weights(info), spec.name, info)
    return lineage(info)


def lineage(info: CheckpointInfo) -> dict[str, Any]:
    """What a checkpoint says of the weights that it was started with.

    Args:
        info: The checkpoint that they come from.

    Returns:
        `init`, with the name of its folder, and the hash, the steps and the tokens of that run. Of that run and
        all before it, `tokens_before` is their sum, and `hashes_before` has the hashes of their texts, oldest first.
    """
    before = read_training(info.path)
    folder = Path(info.path).resolve().name
    return {
        "init": {"folder": folder, "sha256": info.sha256, "step": info.step, "tokens": info.tokens},
        "tokens_before": (info.tokens or 0) + before.get("tokens_before", 0),
        "hashes_before": [*before.get("hashes_before", ()), before.get("hashes")],
    }


def refuse_another(out: Path, started: dict[str, Any], info: CheckpointInfo) -> None:
    """Find out whether a run that is to go on was started with these weights.

    Args:
        out: Its folder.
        started: Its `lineage`; empty where the weights were drawn.
        info: The checkpoint that is named now.

    Raises:
        ValueError: If it was not.
    """
    expected = started["init"]["sha256"] if started else None
    if info.sha256 != expected:
        was = "drawn weights" if expected is None else f"those of SHA-256 {expected[:12]}..."
        raise ValueError(
            f"cannot resume {out}: init {info.path} has weights of SHA-256 {info.sha256[:12]}..., the run was started "
            f"with {was}; leave init out, or start anew"
        )
