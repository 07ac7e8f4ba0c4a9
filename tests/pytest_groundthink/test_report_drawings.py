"""The drawings of a report tell the truth: a value lies in the zone that its band puts it into."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_groundthink.report import bands, ladder
from pytest_groundthink.scorecard import MeasurementRecord
from pytest_groundthink.verdict import Band, Status, Style

PLAIN, PERCENT = Style(label="thing"), Style(label="share", form="percent")
numbers = st.one_of(st.floats(-100, 100), st.floats(1e-7, 1e-3), st.sampled_from([0.0, 0.5, 1.0, 1e5]))


def drawn(record: MeasurementRecord, band: Band, style: Style = PLAIN) -> ET.Element:
    return ET.fromstring(bands.draw(record, band.passes, band.warn, style))


def zone(svg: ET.Element, name: str) -> list[tuple[float, float]]:
    found = [rect for rect in svg if rect.get("class") == f"zone-{name}"]
    return [(x := float(rect.get("x", 0)), x + float(rect.get("width", 0))) for rect in found]  # type: ignore[misc]


def marker(svg: ET.Element) -> float | None:
    found = [path for path in svg if path.get("class") == "value"]
    if not found:
        return None
    match = re.match(r"M([\d.]+)", found[0].get("d", ""))
    assert match is not None
    return float(match[1])


@settings(max_examples=60, deadline=None)
@example(value=0.0, ends=[2.225e-309, 1.0], open_end="none")
@given(value=numbers, ends=st.tuples(numbers, numbers).map(sorted), open_end=st.sampled_from(["low", "high", "none"]))
@example(value=0.0, ends=[2.2e-309, 1.0], open_end="none")
def test_a_value_is_in_the_zone_that_judges_it(value: float, ends: list[float], open_end: str) -> None:
    low, high = (None if open_end == "low" else ends[0]), (None if open_end == "high" else ends[1])
    band = Band(passes=(low, high))
    svg = drawn(MeasurementRecord(name="m", value=value), band)
    x, ((left, right),) = marker(svg), zone(svg, "pass")
    assert x is not None
    assert bands.LEFT <= left < right <= bands.RIGHT + 0.1
    inside = left - 0.2 <= x <= right + 0.2
    if band.status(value) is Status.PASS:
        assert inside
    elif inside:  # so near to the end, or so far below what a logarithmic axis shows, that it cannot be told apart
        assert min(abs(x - left), abs(x - right)) <= 4.2


def test_warn_is_beside_pass_and_an_interval_spans_its_ends() -> None:
    band = Band(passes=(0.3, 3.0), warn=((0.03, 0.3), (3.0, 30.0)))
    svg = drawn(MeasurementRecord(name="m", value=0.12, n=8, ci95=(0.1, 0.14)), band)
    x, ((left, right),), (below, above) = marker(svg), zone(svg, "pass"), zone(svg, "warn")
    assert x is not None
    assert below[0] < x < below[1] == pytest.approx(left, abs=0.2)
    assert above[0] == pytest.approx(right, abs=0.2)
    interval = next(path.get("d", "") for path in svg if path.get("class") == "mark")
    start, end = (float(part) for part in re.findall(r"M([\d.]+) \d+H([\d.]+)", interval)[0])
    assert below[0] < start < x < end < left


def test_what_is_not_finite_has_no_mark_and_says_so() -> None:
    svg = drawn(MeasurementRecord(name="m", value=None), Band(passes=(0, 1)))
    assert marker(svg) is None
    assert svg.get("aria-label") == "thing: not finite; passes: <= 1"


def test_a_rate_is_read_against_none_and_all() -> None:
    svg = drawn(MeasurementRecord(name="m", value=0.5, ci95=(0.4, 0.6)), Band(passes=(0.85, None)), PERCENT)
    assert marker(svg) == pytest.approx((bands.LEFT + bands.RIGHT) / 2)
    assert svg.get("aria-label") == "share: 50%, 95% interval 40% to 60%; passes: >= 85%"


def test_labels_do_not_touch() -> None:
    band = Band(passes=(0.9, 1.0), warn=((0.89, 0.9), (0.5, 0.9)))
    svg = drawn(MeasurementRecord(name="m", value=0.95), band, PERCENT)
    places = sorted(float(text.get("x", 0)) for text in svg if text.get("class") == "tick")
    assert all(later - earlier >= bands.APART for earlier, later in itertools.pairwise(places))


def test_text_from_elsewhere_is_escaped() -> None:
    svg = drawn(MeasurementRecord(name='<x onload="1">', value=1.0), Band(passes=(0, 1)), Style(label='"<&'))
    assert svg.get("aria-label", "").startswith('"<&: 1')


RUNGS = [
    ladder.Rung(label="1M", size=1e15, loss=5.0),
    ladder.Rung(label="2M", size=4e15, loss=4.5, kind="held-out"),
    ladder.Rung(label="8M", size=1.6e17, loss=3.8, kind="predicted", ci95=(3.6, 4.0)),
]


def test_a_ladder_falls_from_left_to_right() -> None:
    svg = ET.fromstring(ladder.draw(RUNGS, "training compute (FLOP)", lambda size: 5 * (size / 1e15) ** -0.06))
    circles = [(float(c.get("cx", 0)), float(c.get("cy", 0)), c.get("class")) for c in svg if c.tag == "circle"]
    assert [kind for _, _, kind in circles] == ["value", "open"]
    assert circles[0][0] < circles[1][0]
    assert circles[0][1] < circles[1][1], "less loss lies lower, and SVG counts down the page"
    labels = [text.text for text in svg if text.get("class") == "point"]
    assert labels == ["1M", "2M", "8M"]
    assert "8M 3.800 (predicted)" in svg.get("aria-label", "")
    assert [path for path in svg if path.get("class") == "curve"]


def test_labels_of_neighbours_do_not_lie_on_each_other() -> None:
    near = [
        ladder.Rung(label=f"GF-MH@{name}", size=1e15 * 1.1**i, loss=5.0)
        for i, name in enumerate(("0.3M", "TINY", "1M"))
    ]
    svg = ET.fromstring(ladder.draw([*near, *RUNGS[2:]], "training compute (FLOP)"))
    labels = [text for text in svg if text.get("class") == "point"]
    assert len(labels) == 4
    boxes = []
    for text in labels:
        left, base = float(text.get("x", 0)), float(text.get("y", 0))
        boxes.append((left, base - 10, left + 8 * len(text.text or ""), base))
    for (left, top, right, bottom), other in itertools.combinations(boxes, 2):
        apart = right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
        assert apart, (left, top, right, bottom, other)


def test_one_scale_is_no_ladder() -> None:
    assert ladder.draw(RUNGS[:1], "size") == ""
    assert ladder.draw([RUNGS[0], RUNGS[0]], "size") == ""
