"""Comparing tensors, and finding the worst of several values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gt.stats import jackknife_interval, mean_interval

Interval = tuple[float, float, float]
"""A mean, and the lower and upper end of its 95% interval."""


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


def finite_values(values: dict[str, float]) -> dict[str, float | None]:
    """The values as JSON knows them: None where one is not finite."""
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


def rounded(values: Any, digits: int = 3) -> Any:
    """Nested lists of numbers, or a tensor, to so many significant digits; None where one is not finite."""
    if isinstance(values, Tensor):
        values = values.tolist()
    if isinstance(values, list):
        return [rounded(value, digits) for value in values]
    return float(f"{values:.{digits}g}") if math.isfinite(values) else None


def finite_interval(values: Sequence[float]) -> Interval:
    """Mean of independent values with its 95% interval, as `gt.stats.mean_interval`; NaN where one is not finite."""
    return mean_interval(values) if all(map(math.isfinite, values)) else (math.nan,) * 3


def over_texts(count: int, figure: Callable[[list[int]], float]) -> Interval:
    """A figure of several texts with its 95% interval, jackknifed over them; the ends are NaN where one is not finite.

    Args:
        count: Number of texts.
        figure: The figure of the texts with these numbers.
    """
    every = list(range(count))
    without = [figure([other for other in every if other != text]) for text in every] if count > 1 else [math.nan]
    return jackknife_interval(figure(every), without)


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Median and its 95% interval between two order statistics, whatever the distribution of the values.

    The narrowest pair of ranks k and n + 1 - k is taken that leaves at most 2.5% to each side; with fewer than six
    values there is none, and the ends are NaN. An extreme of a sample has no such interval: resampled, it can only come
    out as one of the most extreme values that were seen.

    Source:
        Conover 1999, Practical Nonparametric Statistics, 3rd ed., section 3.2. On the extremes: Davison and Hinkley
        1997, Bootstrap Methods, section 2.6.

    Raises:
        ValueError: If there are no values.
    """
    ordered = sorted(values)
    count = len(ordered)
    if not count:
        raise ValueError("values: got none, expected at least 1")
    median = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    outside, tail = 0, 0.0
    while True:
        tail += math.comb(count, outside) / 2**count
        if tail > 0.025:
            break
        outside += 1
    return (median, ordered[outside - 1], ordered[-outside]) if outside else (median, math.nan, math.nan)
