"""Scaling law: loss as a power of compute over a ladder of scales, with its interval and its prediction. Pure.

A ladder has a handful of points, so plain Python fits it faster than NumPy is imported.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import msgspec

RESAMPLES = 500
SCALES_FOR_IRREDUCIBLE = 5
SEED = 0
_GRID = 12
_REFINED = 14
_GOLDEN = (math.sqrt(5) - 1) / 2


class LadderPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the ladder.

    Attributes:
        label: Its name.
        scale: Its scale.
        params: Parameters, the (tied) embedding included.
        tokens: Tokens of training.
        compute: FLOP of training.
        loss: Validation loss in nats.
        held_out: Whether it is of the largest scale, which is predicted from the others.
    """

    label: str
    scale: str
    params: int
    tokens: int
    compute: float
    loss: float
    held_out: bool = False


class ScalingPrediction(msgspec.Struct, frozen=True, kw_only=True):
    """The loss to expect of a scale, trained alike, and its 95% interval (None with too few runs to tell)."""

    scale: str
    compute: float
    loss: float
    ci95: tuple[float, float] | None


class ScalingFit(msgspec.Struct, frozen=True, kw_only=True):
    """loss = irreducible + coefficient * compute ** -exponent.

    Attributes:
        points: The runs, smallest compute first.
        exponent: Positive where more compute lowers the loss.
        exponent_ci95: Its interval; None where there are too few runs.
        coefficient: In nats, at a compute of 1 FLOP.
        irreducible: In nats; None where the points do not call for it.
        r2: Share of the variance of the log of the loss that the fit explains; None with fewer than three scales.
        held_out_error: By how much of the measured loss the largest scale is mispredicted by a fit of the others; None
            with fewer than three scales.
        predicted: The next scale; None where nothing follows or it is not known.
        note: What was fitted and what was left out.
    """

    points: tuple[LadderPoint, ...]
    exponent: float
    exponent_ci95: tuple[float, float] | None
    coefficient: float
    irreducible: float | None
    r2: float | None
    held_out_error: float | None
    predicted: ScalingPrediction | None
    note: str = ""

    @property
    def scales(self) -> int:
        """Number of scales."""
        return len({point.scale for point in self.points})


class Law(msgspec.Struct, frozen=True):
    """loss = irreducible + exp(log_coefficient) * compute ** -exponent."""

    log_coefficient: float
    exponent: float
    irreducible: float = 0.0

    def loss(self, compute: float) -> float:
        """The loss in nats."""
        return self.irreducible + math.exp(self.log_coefficient - self.exponent * math.log(compute))


def fit_scaling(
    points: Sequence[LadderPoint], predict: tuple[str, float] | None = None, note: str = ""
) -> ScalingFit | None:
    """Fit a ladder; None where it has fewer than two scales.

    Least squares of the log of the loss (Kaplan et al. 2020, arXiv:2001.08361, eq. 1.3). From five scales on an
    irreducible loss is fitted too (Hoffmann et al. 2022, arXiv:2203.15556, eq. 2) and kept where it predicts runs that
    were left out better. Intervals: residuals, scaled up for the freedom that the fit took, resampled (Davison and
    Hinkley 1997, Bootstrap Methods, algorithms 6.1 and 6.4).

    Args:
        points: The runs.
        predict: Name and compute of the scale to predict.
        note: Goes into the result.
    """
    points = sorted(points, key=lambda point: (point.compute, point.label))
    if len({point.scale for point in points}) < 2:
        return None
    largest = points[-1].scale
    points = [msgspec.structs.replace(point, held_out=point.scale == largest) for point in points]
    law = fit_law(points)
    exponents, losses = _resampled(points, law, predict[1] if predict else None)
    return ScalingFit(
        points=tuple(points),
        exponent=law.exponent,
        exponent_ci95=_interval(exponents),
        coefficient=math.exp(law.log_coefficient),
        irreducible=law.irreducible or None,
        r2=_r2(points, law),
        held_out_error=held_out_error(points, largest),
        predicted=None
        if predict is None
        else ScalingPrediction(scale=predict[0], compute=predict[1], loss=law.loss(predict[1]), ci95=_interval(losses)),
        note=note,
    )


def held_out_error(points: Sequence[LadderPoint], scale: str) -> float | None:
    """Relative error of the loss of a scale as the scales of less compute predict it; the worst of its runs.

    None where it has no run, or fewer than two scales lie below it.
    """
    runs = [point for point in points if point.scale == scale]
    least = min((run.compute for run in runs), default=0.0)
    below = [point for point in points if point.scale != scale and point.compute < least]
    if not runs or len({point.scale for point in below}) < 2:
        return None
    law = fit_law(below)
    return max(abs(law.loss(run.compute) / run.loss - 1) for run in runs)


def fit_law(points: Sequence[LadderPoint]) -> Law:
    """The law of some runs, with an irreducible loss where there are scales enough and it predicts better."""
    if len({point.scale for point in points}) < SCALES_FOR_IRREDUCIBLE:
        return _plain(points)
    return min((_with_irreducible, _plain), key=lambda fit: _left_out(points, fit))(points)


def _left_out(points: Sequence[LadderPoint], fit: Callable[[Sequence[LadderPoint]], Law]) -> float:
    """Sum of squared errors of the log of each scale's loss, as a fit of all the others gives it."""
    return sum(
        _errors([point for point in points if point.scale == scale], fit([p for p in points if p.scale != scale]))
        for scale in {point.scale for point in points}
    )


def _plain(points: Sequence[LadderPoint], irreducible: float = 0.0) -> Law:
    """Weighted least squares of log(loss - irreducible) over log(compute).

    The weights make it, to first order, least squares of the log of the loss itself.
    """
    x = [math.log(point.compute) for point in points]
    y = [math.log(point.loss - irreducible) for point in points]
    w = [(1 - irreducible / point.loss) ** 2 for point in points]
    total = sum(w)
    mean_x, mean_y = (sum(a * b for a, b in zip(w, values, strict=True)) / total for values in (x, y))
    spread = sum(a * (b - mean_x) ** 2 for a, b in zip(w, x, strict=True))
    slope = sum(a * (b - mean_x) * (c - mean_y) for a, b, c in zip(w, x, y, strict=True)) / spread if spread else 0.0
    return Law(mean_y - slope * mean_x, -slope, irreducible)


def _with_irreducible(points: Sequence[LadderPoint]) -> Law:
    """The same for the irreducible loss that fits best: a grid below the lowest loss, refined by golden section."""
    step = min(point.loss for point in points) / _GRID

    def error(irreducible: float) -> float:
        return _errors(points, _plain(points, irreducible))

    best = min((step * place for place in range(_GRID)), key=error)
    low, high = max(0.0, best - step), min(best + step, step * (_GRID - 1e-3))
    for _ in range(_REFINED):
        a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, b) if error(a) < error(b) else (a, high)
    return _plain(points, min(((low + high) / 2, best, 0.0), key=error))


def _errors(points: Sequence[LadderPoint], law: Law) -> float:
    return sum((math.log(law.loss(point.compute)) - math.log(point.loss)) ** 2 for point in points)


def _r2(points: Sequence[LadderPoint], law: Law) -> float | None:
    if len({point.scale for point in points}) < 3:
        return None  # a line through two points explains everything and says nothing
    logs = [math.log(point.loss) for point in points]
    mean = sum(logs) / len(logs)
    spread = sum((value - mean) ** 2 for value in logs)
    return 1 - _errors(points, law) / spread if spread else 0.0


def _resampled(points: Sequence[LadderPoint], law: Law, compute: float | None) -> tuple[list[float], list[float]]:
    """Exponents, and losses at a compute, of ladders with resampled residuals."""
    freedom = len(points) - (3 if law.irreducible else 2)
    if freedom < 1 or len({point.scale for point in points}) < 3:
        return [], []
    fit = _with_irreducible if law.irreducible else _plain
    fitted = [math.log(law.loss(point.compute)) for point in points]
    residuals = [math.log(point.loss) - value for point, value in zip(points, fitted, strict=True)]
    center = sum(residuals) / len(residuals)
    inflated = math.sqrt(len(points) / freedom)
    residuals = [(residual - center) * inflated for residual in residuals]
    draw = random.Random(SEED)
    exponents, losses = [], []
    for _ in range(RESAMPLES):
        drawn = [
            msgspec.structs.replace(point, loss=math.exp(value + draw.choice(residuals)))
            for point, value in zip(points, fitted, strict=True)
        ]
        own = fit(drawn)
        exponents.append(own.exponent)
        if compute is not None:
            losses.append(own.loss(compute) * math.exp(draw.choice(residuals)))
    return exponents, losses


def _interval(values: Sequence[float]) -> tuple[float, float] | None:
    if not values:
        return None
    ordered = sorted(values)
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.025, 0.975))
    return low, high
