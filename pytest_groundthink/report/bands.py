"""A band as an inline SVG: which values fail, warn and pass, and where the measured value lies with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from pytest_groundthink.scorecard import MeasurementRecord
from pytest_groundthink.verdict import Interval, Style

WIDTH, HEIGHT = 320, 50
LEFT, RIGHT = 8, 312
MIDDLE = 18
# The height tells the zones apart where colours do not.
TALL = {"fail": 6, "warn": 14, "pass": 24}
SPREAD = 30.0
"""From this ratio of the largest to the smallest number on, the axis is logarithmic."""
APART = 62
"""Units between two labels below the axis, so that they do not touch."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Places numbers between LEFT and RIGHT; what lies outside is put at the end."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def around(cls, numbers: Iterable[float]) -> Axis:
        """The axis that shows all of these numbers, with some room beside them.

        Raises:
            ValueError: If there is no number.
        """
        shown = sorted(set(numbers))
        if not shown:
            raise ValueError("an axis needs a number, got none: draw nothing")
        positive = [number for number in shown if number > 0]
        if shown[0] >= 0 and positive and positive[-1] / positive[0] > SPREAD:
            room = (positive[-1] / positive[0]) ** 0.12
            low, high = positive[0] / room, positive[-1] * room
            if low > 0 and high < math.inf:  # else they are too far apart for floating-point numbers
                return cls(low, high, True)
        room = 0.15 * (shown[-1] - shown[0]) or 0.5 * abs(shown[0]) or 1.0
        low = shown[0] - room
        return cls(max(low, 0.0) if shown[0] >= 0 else low, shown[-1] + room, False)

    def place(self, number: float) -> float:
        """Where a number lies, in units of the drawing."""
        if self.logarithmic:
            share = math.log(max(number, self.low) / self.low) / (math.log(self.high) - math.log(self.low))
        else:
            share = (number - self.low) / (self.high - self.low)
        return LEFT + min(max(share, 0.0), 1.0) * (RIGHT - LEFT)

    def span(self, interval: Interval) -> tuple[float, float]:
        """Left and right end of an interval; at least 4 units apart, so that a single value can be seen."""
        left = LEFT if interval[0] is None else self.place(interval[0])
        right = RIGHT if interval[1] is None else self.place(interval[1])
        if right - left >= 4:
            return left, right
        middle = min(max((left + right) / 2, LEFT + 2), RIGHT - 2)
        return middle - 2, middle + 2


def draw(record: MeasurementRecord, passes: Interval, warn: Sequence[Interval], style: Style) -> str:
    """Draw a measurement in its band.

    Args:
        record: What was measured; nothing is marked where it is not finite.
        passes: Inclusive interval of PASS; None is open.
        warn: Inclusive intervals of WARN; everything else fails.
        style: How the metric is shown.

    Returns:
        An `<svg>` element for a page that styles its classes, with a text for those who cannot see it.
    """
    ends = [end for interval in (passes, *warn) for end in interval if end is not None]
    value = None if record.value is None or not math.isfinite(record.value) else record.value
    numbers = [*ends, *(record.ci95 or ()), *([] if value is None else [value])]
    if style.form == "percent" and passes[0] is not None and passes[0] >= 0.5:
        numbers += [0.0, 1.0]  # a rate is read against none and all
        axis = Axis(0.0, max(1.0, *numbers), False)
    else:
        axis = Axis.around(numbers or [0.0])
    parts = [_zone("fail", LEFT, RIGHT)]
    parts += [_zone("warn", *axis.span(interval)) for interval in warn]
    parts.append(_zone("pass", *axis.span(passes)))
    if record.ci95 is not None:
        left, right = (axis.place(end) for end in record.ci95)
        parts.append(
            f'<path class="mark" d="M{left:.1f} {MIDDLE}H{right:.1f}'
            f'M{left:.1f} {MIDDLE - 5}v10M{right:.1f} {MIDDLE - 5}v10"/>'
        )
    if value is not None:
        x = axis.place(value)
        parts.append(f'<path class="value" d="M{x:.1f} {MIDDLE - 8}l6 8l-6 8l-6 -8z"/>')
    parts += _labels(axis, passes, warn, style)
    told = escape(_told(record, passes, style))
    return f'<svg class="band" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{told}">{"".join(parts)}</svg>'


def _zone(name: str, left: float, right: float) -> str:
    tall = TALL[name]
    return (
        f'<rect class="zone-{name}" x="{left:.1f}" y="{MIDDLE - tall / 2:g}" width="{right - left:.1f}" '
        f'height="{tall}" rx="2"/>'
    )


def _labels(axis: Axis, passes: Interval, warn: Sequence[Interval], style: Style) -> list[str]:
    """The ends of the intervals below the axis, those of PASS first, as long as they do not touch."""
    ends = [end for interval in (passes, *warn) for end in interval if end is not None]
    taken: list[float] = []
    labels = []
    for end in dict.fromkeys(ends):
        x = axis.place(end)
        if all(abs(x - other) >= APART for other in taken):
            taken.append(x)
            anchor = "start" if x < LEFT + 30 else "end" if x > RIGHT - 30 else "middle"
            labels.append(
                f'<text class="tick" x="{x:.1f}" y="46" text-anchor="{anchor}">{escape(style.show(end))}</text>'
            )
    return labels


def _told(record: MeasurementRecord, passes: Interval, style: Style) -> str:
    interval = ""
    if record.ci95 is not None:
        interval = f", 95% interval {style.show(record.ci95[0])} to {style.show(record.ci95[1])}"
    name = style.label or record.name
    return f"{name}: {style.show(record.value)}{interval}; passes: {style.show_interval(passes)}"
