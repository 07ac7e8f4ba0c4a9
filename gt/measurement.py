"""The record that every probe returns: one measured number with what is needed to judge it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One measured quantity.

    Attributes:
        metric: Name that a band in `fixtures/checks.yaml` refers to.
        value: The number; None when it is not finite (`note` then says what it was).
        unit: Unit of `value`; empty for ratios, shares and relative errors.
        n: Number of independent items behind `value`.
        ci95: 95% interval (low, high), where the value is an estimate.
        chance: What a guess among the possible answers would come to, where there is such a thing.
        note: One clause for the reason line, e.g. where the worst case was.
        detail: Further figures, JSON types only.
        outcomes: Of a rate, which items were right: by template "1" or "0" for each, in an order that the check, the
            number of items and the seed determine. Two subjects are compared item by item with it.
        cached: True if taken from the cache of an earlier run.
    """

    metric: str
    value: float | None
    unit: str = ""
    n: int = 1
    ci95: tuple[float, float] | None = None
    chance: float | None = None
    note: str = ""
    detail: dict[str, Any] = {}
    outcomes: dict[str, str] = {}
    cached: bool = False


class Unmeasurable(Exception):
    """Raised by a probe that cannot measure this subject, with the reason. The check becomes NODATA.

    Attributes:
        found: What could be measured all the same: recorded, and never judged.
    """

    def __init__(self, reason: str = "", found: Iterable[Measurement] = ()) -> None:
        super().__init__(reason)
        self.found = tuple(found)


def measured(
    metric: str,
    value: float,
    *,
    unit: str = "",
    n: int = 1,
    ci95: tuple[float, float] | None = None,
    chance: float | None = None,
    note: str = "",
    detail: dict[str, Any] | None = None,
    outcomes: dict[str, str] | None = None,
) -> Measurement:
    """Build a Measurement from a float that may be NaN or infinite.

    JSON has no such numbers: the value becomes None and the note names what was seen. An interval that is not finite
    is none.
    """
    number = float(value)
    if not math.isfinite(number):
        note = f"value is {number}" + (f"; {note}" if note else "")
        return Measurement(metric=metric, value=None, unit=unit, n=n, chance=chance, note=note, detail=detail or {})
    return Measurement(
        metric=metric,
        value=number,
        unit=unit,
        n=n,
        ci95=ci95 if ci95 is not None and all(map(math.isfinite, ci95)) else None,
        chance=chance,
        note=note,
        detail=detail or {},
        outcomes=outcomes or {},
    )
