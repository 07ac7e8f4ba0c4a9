"""Loads the reference numbers that lie here."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

HERE = Path(__file__).parent


@cache
def tensors(name: str) -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = load_file(HERE / f"{name}.safetensors")
    return loaded


@cache
def record(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def relmax(got: Tensor, expected: Tensor) -> float:
    """Largest difference as a share of the largest expected magnitude (absolute where all are zero)."""
    assert got.shape == expected.shape
    scale = float(expected.detach().double().abs().max())
    return float((got.detach().double() - expected.detach().double()).abs().max()) / (scale or 1.0)
