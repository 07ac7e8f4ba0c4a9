"""A run that is killed in the middle of a save, as by a power cut."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from gt.training import loop
from gt.training.config import TrainConfig


def run_killed(config: TrainConfig, kill: str) -> int | None:
    """Train in a process of its own.

    Args:
        config: The run.
        kill: WHERE:NUMBER, after so many calls it dies: "torn" while safetensors writes a file, "sync" before a file is
            flushed, "before" and "after" a rename.

    Returns:
        Exit status; the negative number of the signal that killed it.
    """
    # Every process begins as a copy of one that has imported torch, which takes longer than the run.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gt.training.loop", "gt.models.build"])
    process = context.Process(target=_train, args=(config, kill))
    process.start()
    process.join()
    return process.exitcode


def _train(config: TrainConfig, kill: str) -> None:
    torch.set_num_threads(1)
    where, _, number = kill.partition(":")
    left = int(number)
    save_file, fsync, replace = safetensors.torch.save_file, os.fsync, Path.replace

    def now() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def torn(tensors: Any, path: Path, metadata: Any = None) -> None:
        save_file(tensors, path, metadata=metadata)
        if now():
            os.truncate(path, path.stat().st_size // 2)
            die()

    def before_sync(file: int) -> None:
        if now():
            die()
        fsync(file)

    def around_rename(self: Path, target: Path) -> Path:
        kills = now()
        if kills and where == "before":
            die()
        renamed = replace(self, target)
        if kills:
            die()
        return renamed

    if where == "torn":
        safetensors.torch.save_file = torn
    elif where == "sync":
        os.fsync = before_sync
    else:
        Path.replace = around_rename  # type: ignore[method-assign]
    loop.train(config)
