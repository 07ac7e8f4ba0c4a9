"""What a training needs to know of the machine: its device, what rounding depends on, the settings of torch."""

from __future__ import annotations

import os
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
    before = torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS refuses without; read when it is loaded
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.use_deterministic_algorithms(before[1])
