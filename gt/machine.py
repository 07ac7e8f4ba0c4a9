"""What measurements run on. Imports no torch."""

from __future__ import annotations

import platform
from pathlib import Path


def device_name(name: str) -> str:
    """The device that a name means: for "auto" a GPU if there is one.

    Raises:
        ValueError: If it is not there.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but this torch sees no GPU: use --gt-device cpu")
    return name


def cpu_name() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: what the platform module knows is what there is
    return platform.processor() or platform.machine()
