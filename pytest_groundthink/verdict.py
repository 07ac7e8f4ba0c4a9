"""From measurements to a verdict: two-sided inclusive bands, and what is said about them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from gt.measurement import Measurement

Interval = tuple[float | None, float | None]


class Status(StrEnum):
    """What a check came to. NODATA is no measurement, with a reason; it is never a PASS."""

    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"
    NODATA = "NODATA"


SEVERITY = {Status.PASS: 0, Status.WARN: 1, Status.FAIL: 2}


class Style(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"form": "as"}):
    """How a metric is shown.

    Attributes:
        label: What a reader calls it.
        form: "percent" for shares and rates, "number" otherwise.
        better: "lower" or "neither", where the band alone would suggest that higher is better.
    """

    label: str = ""
    form: str = "number"
    better: str = ""

    def __post_init__(self) -> None:
        if self.form not in ("number", "percent"):
            raise ValueError(f"expected as: number or percent, got {self.form!r}")
        if self.better not in ("", "lower", "neither"):
            raise ValueError(f"expected better: lower or neither, got {self.better!r}")

    def show(self, value: float | None) -> str:
        """The value as text."""
        if value is None:
            return "not finite"
        return f"{value * 100:.4g}%" if self.form == "percent" else f"{value:.3g}"

    def show_interval(self, interval: Interval) -> str:
        """The interval as text."""
        low, high = interval
        if low is None and high is None:
            return "any"
        if low is None or (low == 0 and high not in (None, 0)):  # errors and ratios are never negative
            return f"<= {self.show(high)}"
        if high is None:
            return f">= {self.show(low)}"
        if low == high:
            return self.show(low)
        # No digit more than needed to tell the two ends apart, and one unit at the end.
        return f"{self.show(low).removesuffix('%')} to {self.show(high)}"


class Judged(msgspec.Struct, frozen=True):
    """What one band said of one measurement."""

    metric: str
    status: Status
    reason: str


class Band(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"passes": "pass"}):
    """The values of one metric that pass and that warn; all others, and non-finite ones, fail.

    Attributes:
        passes: Inclusive interval of PASS; None is open.
        warn: Inclusive intervals of WARN.
        slack: PASS also needs the lower end of the 95% interval to be at least the lower end of `passes` less this.
        strict: Name of the option that turns a WARN of this band into a FAIL.
    """

    passes: Interval
    warn: tuple[Interval, ...] = ()
    slack: float | None = None
    strict: str | None = None

    def __post_init__(self) -> None:
        for low, high in (self.passes, *self.warn):
            ends = [end for end in (low, high) if end is not None]
            if not all(math.isfinite(end) for end in ends):
                raise ValueError("expected finite ends (null is open)")
            if len(ends) == 2 and ends[0] > ends[1]:
                raise ValueError(f"expected low <= high, got [{low}, {high}]")
        if self.slack is not None and (self.passes[0] is None or not 0 <= self.slack < math.inf):
            raise ValueError("slack must be at least 0 and needs a lower end of pass")

    def status(self, value: float | None, ci95: tuple[float, float] | None = None) -> Status:
        """PASS, WARN or FAIL of a value; NaN, infinity and None (not finite) are FAIL.

        Args:
            value: What was measured.
            ci95: Its 95% interval; without one a band with `slack` cannot PASS.
        """
        if value is None or not math.isfinite(value):
            return Status.FAIL
        if _within(value, self.passes):
            return Status.PASS if self._supported(ci95) else Status.WARN
        return Status.WARN if any(_within(value, interval) for interval in self.warn) else Status.FAIL

    def judge(self, measurement: Measurement, style: Style, *, strict: bool = False) -> Judged:
        """Judge a measurement and say why.

        Args:
            measurement: What was measured.
            style: How the metric is shown.
            strict: Whether the option named by `self.strict` was given.
        """
        status = self.status(measurement.value, measurement.ci95)
        notes = [measurement.note] if measurement.note else []
        if strict and self.strict is not None and status is Status.WARN:
            status = Status.FAIL
            notes.append(f"--gt-{self.strict} was given")
        straddled = self._straddled(measurement.ci95)
        if straddled:
            ends = " and ".join(style.show(end) for end in straddled)
            notes.append(", ".join(filter(None, (f"the interval straddles {ends}", settled(measurement, straddled)))))
        low = self.passes[0]
        if low is not None and self.slack is not None and status is Status.WARN and measurement.value is not None:
            if _within(measurement.value, self.passes):
                least = low - self.slack
                more = settled(measurement, [least]) or "measure more items"
                notes.append(f"the interval must not reach below {style.show(least)}: {more}")
        name = style.label or measurement.metric
        estimate = _estimate(measurement, style)
        if status is Status.PASS:
            told = "; ".join([estimate.strip(" ()"), *notes] if estimate else notes)
            return Judged(measurement.metric, status, f"{name}: {told}" if told else "")
        shown = f"{name} {style.show(measurement.value)}{estimate}, needs {style.show_interval(self.passes)}"
        return Judged(measurement.metric, status, "; ".join([shown, *notes]))

    def _supported(self, ci95: tuple[float, float] | None) -> bool:
        low = self.passes[0]
        if self.slack is None or low is None:
            return True
        return ci95 is not None and ci95[0] >= low - self.slack

    def _straddled(self, ci95: tuple[float, float] | None) -> list[float]:
        if ci95 is None:
            return []
        ends = {end for interval in (self.passes, *self.warn) for end in interval if end is not None}
        return sorted(end for end in ends if ci95[0] < end < ci95[1])


class Threshold(msgspec.Struct, frozen=True, kw_only=True, rename={"passes": "pass"}):
    """The bands that judged a check, as the scorecard records them: intervals by metric, and where they come from."""

    passes: dict[str, Interval]
    warn: dict[str, tuple[Interval, ...]]
    source: str
    combine: str = "worst"


class BandSet(msgspec.Struct, frozen=True, kw_only=True):
    """The bands of one check under one profile.

    Attributes:
        source: Where the numbers come from.
        bands: Band by metric.
        combine: "worst" or "votes" (all pass: PASS, some: WARN, none: FAIL).
    """

    source: str
    bands: dict[str, Band]
    combine: str = "worst"

    def judge(
        self, measurements: Sequence[Measurement], styles: Mapping[str, Style], strict: frozenset[str] = frozenset()
    ) -> tuple[Status, str, Threshold | None]:
        """Judge all measurements that a band names.

        Args:
            measurements: What was measured; metrics without a band are not judged.
            styles: How metrics are shown.
            strict: Options that turn a band's WARN into FAIL.

        Returns:
            The status, the reason (empty for a plain PASS) and the bands that were used.
        """
        used = {m.metric: self.bands[m.metric] for m in measurements if m.metric in self.bands}
        if not used:
            return Status.NODATA, f"none of {', '.join(self.bands)} was measured", None
        threshold = Threshold(
            passes={metric: band.passes for metric, band in used.items()},
            warn={metric: band.warn for metric, band in used.items() if band.warn},
            source=self.source,
            combine=self.combine,
        )
        judged = [
            used[m.metric].judge(m, styles.get(m.metric, Style()), strict=used[m.metric].strict in strict)
            for m in measurements
            if m.metric in used
        ]
        status = self._combined([one.status for one in judged], measurements)
        # What is fine needs no words beside what is not.
        told = [one for one in judged if one.status is not Status.PASS] or judged
        return status, "; ".join(one.reason for one in told if one.reason), threshold

    def _combined(self, statuses: list[Status], measurements: Sequence[Measurement]) -> Status:
        worst = max(statuses, key=lambda status: SEVERITY[status])
        if self.combine == "worst" or worst is Status.PASS:
            return worst
        if any(m.metric in self.bands and not finite(m.value) for m in measurements):
            return Status.FAIL
        return Status.WARN if Status.PASS in statuses else Status.FAIL


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one check of one subject; travels from the test to the collector as one JSON string.

    Attributes:
        check: Id of the check.
        subject: Label of the subject.
        status: What it came to under `profile`.
        reason: Why; empty for a plain PASS.
        profile: The profile that judged.
        profiles: Status under the other profiles that have bands for it.
        applicable: False if the subject's kind lacks what the check requires: it is then not required of it.
        error: True if the check (or loading its subject) raised.
        measurements: Everything that was measured.
        threshold: The bands that judged.
    """

    check: str
    subject: str
    status: Status
    reason: str
    profile: str
    profiles: dict[str, Status] = {}
    applicable: bool = True
    error: bool = False
    measurements: tuple[Measurement, ...] = ()
    threshold: Threshold | None = None

    @property
    def cached(self) -> bool:
        """Whether everything measured was taken from an earlier run."""
        return bool(self.measurements) and all(m.cached for m in self.measurements)


MOST_ITEMS = 10_000
"""Where more items than these would be needed, a value counts as being on the line."""

ROUNDING = 1e-6


def settled(measurement: Measurement, ends: Sequence[float]) -> str:
    """How many more items would put an interval on one side of all `ends`, in words; empty where that is unknown.

    The value is taken to stay where it is, and the interval to shrink with the square root of the number of items;
    where they come in templates, of more templates of the same size, since more items of one template say less.
    """
    value, ci95, n = measurement.value, measurement.ci95, measurement.n
    if value is None or ci95 is None or n < 2:
        return ""
    needed = 0.0
    for end in ends:
        reach = value - ci95[0] if end <= value else ci95[1] - value
        needed = max(needed, n * (reach / abs(value - end)) ** 2 if value != end else math.inf)
    if needed > MOST_ITEMS:
        return f"more than {MOST_ITEMS:,} items would be needed: on the line"
    clusters = len(measurement.outcomes)
    if 0 < clusters < n:
        more = math.ceil(needed * clusters / n - ROUNDING) - clusters
        return f"about {round(more * n / clusters):,} more items ({more:,} more templates) would settle it"
    return f"about {math.ceil(needed - ROUNDING) - n:,} more items would settle it"


def finite(value: float | None) -> bool:
    """Whether there is a value that is neither NaN nor infinite."""
    return value is not None and math.isfinite(value)


def _within(value: float, interval: Interval) -> bool:
    low, high = interval
    return (low is None or value >= low) and (high is None or value <= high)


def _estimate(measurement: Measurement, style: Style) -> str:
    if measurement.ci95 is None:
        return ""
    low, high = (style.show(end).removesuffix("%") for end in measurement.ci95)
    unit = "%" if style.form == "percent" else ""
    to = " to " if low.startswith("-") else "-"
    chance = "" if measurement.chance is None else f", chance {style.show(measurement.chance)}"
    return f" (n={measurement.n}, 95% {low}{to}{high}{unit}{chance})"
