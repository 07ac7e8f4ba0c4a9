from __future__ import annotations

import pytest

from pytest_groundthink.comparison import compare
from pytest_groundthink.fail_rules import Hit, hits, parse_rules
from pytest_groundthink.scorecard import CheckResult, Scorecard

from .scorecards import card, check, outcomes, rate, value


def found(rule: str, before: Scorecard, after: Scorecard) -> list[Hit]:
    return hits(compare([("a", before), ("b", after)], {}), parse_rules([rule]))


def rated(number: float | None, id_: str = "C1a") -> CheckResult:
    return check(id_, "PASS", value("rate", number), value("other", 1.0), passes={"rate": (0.9, None)})


@pytest.mark.parametrize(
    ("rule", "before", "after", "hit"),
    [
        ("C1a<-5%", 0.90, 0.80, True),
        ("C1a<-5%", 0.90, 0.86, False),
        ("C1a<-5pp", 0.90, 0.84, True),
        ("C1a<-5pp", 0.90, 0.85, False),
        ("C1a<=-5pp", 0.90, 0.85, True),
        ("C1a<-0.05", 0.90, 0.85, False),
        ("C1a < -0.05", 0.90, 0.8, True),
        ("C1a>+5%", 0.90, 0.99, True),
        ("C1a>+5%", 0.90, 0.91, False),
        ("C1a<90%", 0.99, 0.89, True),
        ("C1a<90%", 0.10, 0.9, False),
        ("C1a<0.9", None, 0.95, False),
        ("C1a.rate<-5%", 0.90, 0.80, True),
        ("C1a.other<-5%", 0.90, 0.80, False),
        ("C1a<-1e-3", 0.90, 0.898, True),
        ("C1a<-5%", 0.0, 0.0, False),
        ("C1a>+5%", 0.0, 1e-9, True),
        ("C1a<-5%", None, 0.99, True),
        ("C1a<-5%", 0.90, None, True),
        ("rates<-5pp", 0.90, 0.80, True),
        ("rates<-5pp", 0.90, 0.90, False),
    ],
)
def test_values(rule: str, before: float | None, after: float | None, hit: bool) -> None:
    assert bool(found(rule, card(rated(before)), card(rated(after)))) == hit


def test_a_hit_says_where_and_why() -> None:
    (hit,) = found("status, C1a<-5pp", card(rated(0.9)), card(rated(0.8)))
    assert hit == Hit(rule="C1a<-5pp", where="C1a", why="it went from 0.9 to 0.8")


@pytest.mark.parametrize("gone", [card(), card(check("C1a", "NODATA")), card(check("C1a", "NODATA", applicable=False))])
def test_what_cannot_be_told_is_a_hit(gone: Scorecard) -> None:
    (hit,) = found("C1a<-5pp", card(rated(0.9)), gone)
    assert hit.why == "C1a has no value in b"
    (hit,) = found("C1a<-5pp", gone, card(rated(0.9)))
    assert hit.why == "C1a has no value in the baseline"


@pytest.mark.parametrize(
    ("before", "after", "hit"), [("PASS", "WARN", True), ("WARN", "PASS", False), ("PASS", "NODATA", True)]
)
def test_status(before: str, after: str, hit: bool) -> None:
    assert bool(found("status", card(check("S1", before)), card(check("S1", after)))) == hit


def test_significant() -> None:
    before = card(rate("C1a", outcomes(0.9)))
    assert found("significant", before, card(rate("C1a", outcomes(0.7))))
    assert not found("significant", before, card(rate("C1a", outcomes(0.895))))
    assert not found("significant", card(rate("C1a", outcomes(0.7))), before)


@pytest.mark.parametrize(
    ("before", "after", "hit"),
    [
        ("GO", "HOLD", True),
        ("CAUTION", "GO", False),
        ("HOLD", "HOLD", False),
        ("GO", None, True),
        (None, "HOLD", False),
    ],
)
def test_decision(before: str | None, after: str | None, hit: bool) -> None:
    assert bool(found("decision", card(outcome=before), card(outcome=after))) == hit


def test_an_id_may_have_a_dot() -> None:
    (hit,) = found(
        "G3.5.rate<-5pp", card(rated(0.9, "G3"), rated(0.9, "G3.5")), card(rated(0.9, "G3"), rated(0.5, "G3.5"))
    )
    assert hit.where == "G3.5.rate"


def test_of_several_scorecards_the_one_that_is_meant_is_named() -> None:
    comparison = compare([("a", card(rated(0.9))), ("b", card(rated(0.9))), ("c", card(rated(0.5)))], {})
    assert [hit.where for hit in hits(comparison, parse_rules(["C1a<-5%"]))] == ["C1a of c"]


@pytest.mark.parametrize(
    "text", ["C1a", "C1a<", "C1a<5pp", "C1a=5", "<-5%", "C1a<-5%%", "C1a<-5% C1b<-5%", "", "C1a<--5"]
)
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(ValueError, match="expected status, significant, decision, or a rule such as"):
        parse_rules([text])


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("C9<-5%", "no scorecard has a check 'C9': there are C1a, S2"),
        ("C1a.none<-5%", "C1a has no metric 'none': there are rate, other"),
        ("S2<-5%", "S2 has no one value that is meant: name one of S2.x, S2.y"),
    ],
)
def test_a_rule_about_nothing_is_an_error(rule: str, says: str) -> None:
    several = check("S2", "PASS", value("x", 1), value("y", 1), passes={"x": (0, None), "y": (0, None)})
    with pytest.raises(ValueError, match=says):
        found(rule, card(rated(0.9), several), card(rated(0.9), several))
