"""Comparing tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def relative_error(got: Tensor, expected: Tensor) -> float:
    """Largest absolute difference as a share of the largest expected magnitude; NaN if anything is not finite."""
    if got.shape != expected.shape:
        raise ValueError(f"cannot compare {list(got.shape)} with {list(expected.shape)}")
    got, expected = got.double(), expected.double()
    difference = (got - expected).abs().max()
    scale = expected.abs().max()
    if not torch.isfinite(difference + scale):
        return float("nan")
    return float(difference / scale) if scale > 0 else float(difference)


def least(values: dict[str, float]) -> tuple[str, float]:
    """The entry with the smallest value; one that is NaN before all others."""
    return min(values.items(), key=lambda entry: (entry[1] == entry[1], entry[1]))


def worst(errors: dict[str, float]) -> tuple[str, float]:
    """The entry with the largest value; one that is NaN before all others."""
    return max(errors.items(), key=lambda entry: (entry[1] != entry[1], entry[1]))
