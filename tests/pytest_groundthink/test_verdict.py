from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gt.measurement import Measurement
from pytest_groundthink.verdict import Band, BandSet, Status, Style

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)
TWO_SIDED = Band(passes=(0.5, 1.5), warn=((0.1, 0.5), (1.5, 5.0)))
RATE = Band(passes=(0.95, None), warn=((0.5, None),), slack=0.05)
PERCENT = Style(label="recall", form="percent")


def m(metric: str = "x", value: float | None = 1.0, **fields: object) -> Measurement:
    return Measurement(metric=metric, value=value, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (0.5, "PASS"),
        (1.5, "PASS"),
        (0.4999, "WARN"),
        (0.1, "WARN"),
        (5.0, "WARN"),
        (0.0999, "FAIL"),
        (5.001, "FAIL"),
        (-1.0, "FAIL"),
        (math.nan, "FAIL"),
        (math.inf, "FAIL"),
        (-math.inf, "FAIL"),
        (None, "FAIL"),
    ],
)
def test_bands_are_two_sided_and_inclusive(value: float | None, status: str) -> None:
    assert TWO_SIDED.status(value) == status


@given(FINITE, FINITE, FINITE)
def test_a_value_passes_exactly_within_the_interval(a: float, b: float, value: float) -> None:
    low, high = min(a, b), max(a, b)
    assert (Band(passes=(low, high)).status(value) is Status.PASS) == (low <= value <= high)


@given(FINITE, FINITE)
def test_an_open_end_excludes_nothing_but_the_non_finite(end: float, value: float) -> None:
    assert (Band(passes=(end, None)).status(value) is Status.PASS) == (value >= end)
    assert (Band(passes=(None, end)).status(value) is Status.PASS) == (value <= end)
    assert Band(passes=(None, None)).status(value) is Status.PASS
    assert Band(passes=(None, None)).status(math.nan) is Status.FAIL


@given(FINITE, FINITE, FINITE, FINITE)
def test_widening_a_band_never_worsens_a_verdict(a: float, b: float, value: float, by: float) -> None:
    low, high = min(a, b), max(a, b)
    order = [Status.PASS, Status.WARN, Status.FAIL]
    narrow = Band(passes=(low, high)).status(value)
    wide = Band(passes=(low, high), warn=((low - abs(by), high + abs(by)),)).status(value)
    assert order.index(wide) <= order.index(narrow)


@pytest.mark.parametrize(
    ("rate", "ci95", "status"),
    [
        (0.96, (0.93, 0.98), "PASS"),
        (0.95, (0.90, 0.98), "PASS"),
        (0.97, (0.89, 0.99), "WARN"),  # the interval reaches too far down
        (0.97, None, "WARN"),  # an estimate without an interval supports nothing
        (0.94, (0.93, 0.95), "WARN"),
        (0.50, (0.45, 0.55), "WARN"),
        (0.4999, (0.45, 0.55), "FAIL"),
    ],
)
def test_a_rate_passes_only_with_its_lower_bound(rate: float, ci95: tuple[float, float] | None, status: str) -> None:
    assert RATE.status(rate, ci95) == status


def test_reason_gives_rate_sample_interval_and_target() -> None:
    style = Style(label="recall", form="percent")
    judged = RATE.judge(m(value=0.03, n=400, ci95=(0.01, 0.05)), style)
    assert judged.reason == "recall 3% (n=400, 95% 1-5%), needs >= 95%"


def test_an_interval_below_zero_is_readable() -> None:
    judged = RATE.judge(m(value=-0.12, n=32, ci95=(-0.15, -0.09)), Style(label="reduction", form="percent"))
    assert judged.reason == "reduction -12% (n=32, 95% -15 to -9%), needs >= 95%"


def test_a_straddled_threshold_is_named_even_on_pass() -> None:
    judged = RATE.judge(m(value=0.96, n=400, ci95=(0.93, 0.98)), Style(label="recall", form="percent"))
    assert judged.status is Status.PASS
    assert "the interval straddles 95%" in judged.reason


def test_reason_of_a_non_finite_value_says_what_it_was() -> None:
    judged = TWO_SIDED.judge(m(value=None, note="value is nan; layer 3"), Style(label="norm"))
    assert judged.status is Status.FAIL
    assert judged.reason == "norm not finite, needs 0.5 to 1.5; value is nan; layer 3"


def test_strict_turns_warn_into_fail_and_leaves_pass() -> None:
    band = Band(passes=(1, 1), warn=((0, 1),), strict="require-kernels")
    assert band.judge(m(value=0.5), Style()).status is Status.WARN
    strict = band.judge(m(value=0.5), Style(), strict=True)
    assert strict.status is Status.FAIL
    assert "--gt-require-kernels" in strict.reason
    assert band.judge(m(value=1.0), Style(), strict=True).status is Status.PASS


def bands(combine: str = "worst") -> BandSet:
    band = Band(passes=(1.0, None), warn=((0.5, None),))
    return BandSet(source="[P]", bands={"a": band, "b": band}, combine=combine)


@pytest.mark.parametrize(
    ("combine", "a", "b", "status"),
    [
        ("worst", 1, 1, "PASS"),
        ("worst", 1, 0.5, "WARN"),
        ("worst", 0.5, 0, "FAIL"),
        ("votes", 1, 1, "PASS"),
        ("votes", 1, 0, "WARN"),
        ("votes", 0, 0, "FAIL"),
        ("votes", 0.5, 0.5, "FAIL"),
        ("votes", 1, math.nan, "FAIL"),
    ],
)
def test_combining(combine: str, a: float, b: float, status: str) -> None:
    measurements = [m("a", float(a)), m("b", float(b)), m("recorded only", math.nan)]
    assert bands(combine).judge(measurements, {})[0] == status


def test_a_metric_that_was_not_measured_is_not_judged() -> None:
    status, _, threshold = bands().judge([m("a", 1.0)], {})
    assert status is Status.PASS
    assert threshold is not None
    assert set(threshold.passes) == {"a"}


def test_nothing_judged_is_no_data() -> None:
    status, reason, threshold = bands().judge([m("other", 1.0)], {})
    assert (status, reason, threshold) == (Status.NODATA, "none of a, b was measured", None)


def test_what_passes_needs_no_words_beside_what_does_not() -> None:
    reason = bands().judge([m("a", 1.0, note="fine"), m("b", 0.0)], {})[1]
    assert reason == "b 0, needs >= 1"


@pytest.mark.parametrize(
    "wrong",
    [
        {"passes": (2.0, 1.0)},
        {"passes": (0.0, math.inf)},
        {"passes": (0.0, 1.0), "warn": ((3.0, 2.0),)},
        {"passes": (None, 1.0), "slack": 0.05},
        {"passes": (0.0, 1.0), "slack": -1.0},
    ],
)
def test_impossible_bands_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"expected|slack"):
        Band(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("form", "interval", "shown"),
    [
        ("percent", (0.95, None), ">= 95%"),
        ("percent", (1.0, 1.0), "100%"),
        ("number", (0.0, 1e-5), "<= 1e-05"),
        ("number", (None, 100.0), "<= 100"),
        ("number", (0.5, 1.5), "0.5 to 1.5"),
        ("percent", (0.5, 0.9), "50 to 90%"),
        ("number", (None, None), "any"),
    ],
)
def test_intervals_as_text(form: str, interval: tuple[float | None, float | None], shown: str) -> None:
    assert Style(form=form).show_interval(interval) == shown


# Half-widths shrink with the square root of the number of items: from 400, 4 points are 2 at four times as many.
@pytest.mark.parametrize(
    ("value", "ci95", "outcomes", "said"),
    [
        (0.97, (0.93, 0.99), 0, "about 1,200 more items would settle it"),
        (0.97, (0.93, 0.99), 40, "about 1,200 more items (120 more templates) would settle it"),
        (0.93, (0.89, 0.96), 0, "about 500 more items would settle it"),
        (0.951, (0.93, 0.97), 0, "more than 10,000 items would be needed: on the line"),
        (0.95, (0.93, 0.97), 40, "more than 10,000 items would be needed: on the line"),
    ],
)
def test_a_straddled_threshold_says_how_many_more_items_would_settle_it(
    value: float, ci95: tuple[float, float], outcomes: int, said: str
) -> None:
    by_template = {str(number): "1" * 10 for number in range(outcomes)}
    judged = RATE.judge(m("rate", value, n=400, ci95=ci95, outcomes=by_template), PERCENT)
    assert f"the interval straddles 95%, {said}" in judged.reason


def test_an_interval_that_reaches_too_low_says_how_many_more_items_it_needs() -> None:
    judged = RATE.judge(m("rate", 0.96, n=100, ci95=(0.88, 0.99)), PERCENT)
    assert judged.status is Status.WARN
    assert "must not reach below 90%: about 78 more items would settle it" in judged.reason


def test_what_does_not_straddle_asks_for_nothing() -> None:
    assert "more items" not in RATE.judge(m("rate", 0.8, n=400, ci95=(0.75, 0.85)), PERCENT).reason


def test_the_chance_level_stands_beside_the_interval() -> None:
    judged = RATE.judge(m("rate", 0.8, n=400, ci95=(0.75, 0.85), chance=0.0625), PERCENT)
    assert "(n=400, 95% 75-85%, chance 6.25%)" in judged.reason
