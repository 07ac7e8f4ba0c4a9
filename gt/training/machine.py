"""What a training needs to know of the machine: its device, what rounding depends on, the settings of torch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gt.training.config import TrainConfig


def device_of(name: str) -> torch.device:
    """The device that a name stands for.

    Args:
        name: "cpu", "cuda", or "auto": a GPU where torch sees one.

    Raises:
        ValueError: If the name is unknown, or there is no GPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {name!r}: expected auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but this torch sees no GPU")
    return torch.device(name)


def environment(device: torch.device) -> dict[str, Any]:
    """What rounding depends on beside the settings."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    return {"torch": torch.__version__, "device": name, "threads": torch.get_num_threads()}


@contextmanager
def exact(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """The settings of torch that a run wants, and those from before after it."""
    precision = torch.get_float32_matmul_precision()
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS refuses without; read when it is loaded
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Let the same steps give the same bits again on a GPU, as far as the operations of a model can; a CPU does anyway.

    torch then adds in a fixed order, and with it mamba-ssm and causal-conv1d, whose backward passes else add as their
    threads come; our own kernels always do. What cannot is computed all the same, and nothing is said of it.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # whose one setting is made as it is loaded
    filled = memory.fill_uninitialized_memory
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        memory.fill_uninitialized_memory = False  # a launch for every tensor that is made
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"[\s\S]*determinis")
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = filled
