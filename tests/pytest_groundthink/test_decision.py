from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_groundthink.checks import Check, CheckBook
from pytest_groundthink.decision import conclude, decide
from pytest_groundthink.rules import ScaleRule, Target
from pytest_groundthink.scorecard import (
    CategoryScore,
    CheckResult,
    MeasurementRecord,
    Provenance,
    Scorecard,
    SubjectSection,
    Summary,
    ThresholdsUsed,
)
from pytest_groundthink.verdict import Status

from .cards import BOOK, MATRIX, SCALES

RULE = ScaleRule(
    name="S",
    next="T",
    capabilities=("subword_tokenizer",),
    required=("G1a", "S1", "C1a", "C1b-lite"),
    canaries=("C1a", "C1b-lite"),
    targets=(
        Target(name="at once", mean_of=("C1a",), at_least=0.95),
        Target(name="recall", mean_of=("C1a", "C1b-lite"), at_least=0.85),
    ),
)


def result(id_: str, status: str = "PASS", **fields: Any) -> CheckResult:
    check = BOOK.checks.get(id_) or Check(
        id=id_, title=id_, kind="learning", tier="minimal", requires=frozenset(), measures="", remedy=""
    )
    rate = fields.pop("rate", None)
    records = () if rate is None else (MeasurementRecord(name="rate", value=rate, n=400),)
    return CheckResult(
        id=id_,
        title=check.title,
        kind=check.kind,
        tier=check.tier,
        status=Status(status),
        reason=fields.pop("reason", ""),
        measurements=records,
        threshold=None,
        profiles={},
        duration_s=None,
        cached=False,
        **{"applicable": True, "error": False, **fields},
    )


def card(*results: CheckResult, capabilities: tuple[str, ...] = ("subword_tokenizer",)) -> Scorecard:
    return Scorecard(
        created="2026-01-01T00:00:00+00:00",
        subject=SubjectSection(label="M@S", model="M@S", scale="S", capabilities=capabilities),
        provenance=Provenance(
            version="0",
            git=None,
            environment={},
            thresholds=ThresholdsUsed(profile="default", sha256=""),
            seed=0,
            command_line=(),
        ),
        checks=results,
        summary=Summary.of(results, collected=len(results), reported=len(results), complete=True),
    )


GOOD = {
    "G1a": result("G1a"),
    "S1": result("S1"),
    "L4": result("L4"),
    "C1a": result("C1a", rate=0.97),
    "C1b-lite": result("C1b-lite", rate=0.9),
}


def decided(*changed: CheckResult, rule: ScaleRule = RULE, book: CheckBook = BOOK, **fields: Any) -> Any:
    results = {**GOOD, **{one.id: one for one in changed}}
    return decide(card(*results.values(), **fields), rule, MATRIX, book)


def scored(*scores: int) -> dict[str, CategoryScore]:
    rows = zip(MATRIX.categories.items(), scores, strict=True)
    return {name: CategoryScore(score=score, weight=row.weight, evidence=()) for (name, row), score in rows}


def test_worked_example_of_the_documents() -> None:
    assert conclude(scored(3, 3, 2, 2), False, MATRIX) == ("GO", 13.0)


@pytest.mark.parametrize("scores", list(itertools.product(range(4), repeat=4)))
def test_the_rule_of_the_matrix(scores: tuple[int, int, int, int]) -> None:
    a, c, s, r = scores
    total = 1.5 * a + 1.5 * c + s + r
    expected = "HOLD" if 0 in scores or total < 8 else "GO" if total >= 10 else "CAUTION"
    assert conclude(scored(*scores), False, MATRIX) == (expected, total)
    assert conclude(scored(*scores), True, MATRIX)[0] == "HOLD"


@pytest.mark.parametrize("scores", list(itertools.product(range(4), repeat=2)))
def test_rows_that_cannot_apply_leave_the_limits_at_the_same_share(scores: tuple[int, int]) -> None:
    rows = scored(*scores, 0, 0)
    rows |= {name: msgspec.structs.replace(rows[name], score=None) for name in list(rows)[2:]}
    total = sum(scores) * 1.5 * 5 / 3
    expected = "HOLD" if 0 in scores or total < 8 else "GO" if total >= 10 and min(scores) >= 2 else "CAUTION"
    assert conclude(rows, False, MATRIX) == (expected, pytest.approx(total))
    nothing = {name: msgspec.structs.replace(row, score=None) for name, row in rows.items()}
    assert conclude(nothing, False, MATRIX) == ("HOLD", 0.0)


def test_without_evidence_of_scaling_and_resources_nothing_goes() -> None:
    decision = decided()
    assert decision.blockers == ()
    assert decision.categories["architecture stability"].score == 3
    assert decision.categories["canary performance"].score == 3
    assert decision.categories["scaling law fit"].score == 0
    assert decision.categories["resource prediction"].score == 0
    assert decision.outcome == "HOLD"
    assert any("scaling law fit is 0" in reason and "1 needs" in reason for reason in decision.reasons)


def test_the_shipped_scales_hold_an_empty_scorecard() -> None:
    for rule in SCALES.values():
        decision = decide(card(), rule, MATRIX, BOOK)
        assert decision.outcome == "HOLD"
        assert decision.total == 0
        assert len(decision.blockers) >= len(rule.required)


@pytest.mark.parametrize("id_", RULE.required)
@pytest.mark.parametrize("status", ["FAIL", "NODATA", "missing"])
def test_any_unmet_requirement_blocks(id_: str, status: str) -> None:
    if status == "missing":
        results = [one for one in GOOD.values() if one.id != id_]
        decision = decide(card(*results), RULE, MATRIX, BOOK)
        words = "was not part of this run"
    else:
        rate = {"rate": 0.1} if id_.startswith("C") and status == "FAIL" else {}
        decision = decided(result(id_, status, reason="because", **rate))
        words = "because"
    assert decision.outcome == "HOLD"
    assert any(blocker.startswith(f"{id_} ") and words in blocker for blocker in decision.blockers)


@given(st.lists(st.sampled_from(sorted(BOOK.checks)), unique=True), st.data())
def test_no_subset_of_checks_makes_a_go(ids: list[str], data: st.DataObject) -> None:
    results = [
        result(id_, data.draw(st.sampled_from(list(Status))), rate=data.draw(st.sampled_from([None, 0.0, 1.0])))
        for id_ in ids
    ]
    assert decide(card(*results), SCALES["3.5M"], MATRIX, BOOK).outcome == "HOLD"


def test_a_fail_tells_what_to_do() -> None:
    blockers = decided(result("C1a", "FAIL", rate=0.03, reason="recall 3% (n=400, 95% 1-5%), needs >= 95%")).blockers
    assert blockers[0].startswith("C1a recall at once: recall 3% (n=400, 95% 1-5%), needs >= 95%. Train on")


def test_planned_checks_block_as_not_part_of_this_version() -> None:
    rule = msgspec.structs.replace(RULE, required=(*RULE.required, "X1"))
    book = msgspec.structs.replace(BOOK, planned={"X1": "something new"})
    assert decided(rule=rule, book=book).blockers == ("X1 something new: is not part of this version yet",)


def test_a_state_check_must_pass() -> None:
    assert (
        decided(result("S1", "WARN", reason="low")).blockers[0].startswith("S1 state health: must PASS, is WARN: low")
    )
    assert decided(result("G1a", "WARN")).blockers == ()


def test_what_the_kind_of_model_lacks_is_not_required() -> None:
    assert decided(result("S1", "NODATA", applicable=False)).blockers == ()


def test_a_missing_capability_of_the_scale_blocks() -> None:
    assert "lacks a subword tokenizer" in decided(capabilities=()).blockers[0]


def test_an_unmet_target_blocks_though_no_check_fails() -> None:
    decision = decided(result("C1a", "WARN", rate=0.9499), result("C1b-lite", "WARN", rate=0.6))
    assert decision.blockers == (
        "target at once: needs 95%, C1a is 94.99%",
        "target recall: needs 85%, mean of C1a, C1b-lite is 77.5%",
    )


def test_a_canary_below_half_stops() -> None:
    assert "stop: C1a is at 49%, below 50%" in decided(result("C1a", "FAIL", rate=0.49)).reasons


@pytest.mark.parametrize(
    ("rates", "score"),
    [((0.49, 0.49), 0), ((0.5, 0.5), 1), ((0.74, 0.75), 1), ((0.75, 0.75), 2), ((0.85, 0.85), 2), ((0.86, 0.86), 3)],
)
def test_canary_levels(rates: tuple[float, float], score: int) -> None:
    decision = decided(result("C1a", rate=rates[0]), result("C1b-lite", rate=rates[1]))
    assert decision.categories["canary performance"].score == score


def test_a_canary_without_a_rate_scores_nothing() -> None:
    assert decided(result("C1a", "NODATA")).categories["canary performance"].score == 0


@pytest.mark.parametrize(
    ("changed", "score"),
    [
        ([], 3),
        ([result("G1a", "WARN")], 2),
        ([result("G1a", "WARN"), result("G2", "WARN")], 2),
        ([result("G1a", "WARN"), result("G2", "WARN"), result("G3", "WARN")], 1),
        ([result("S1", "WARN")], 3),  # only WARNs among G and D1 count here; a state WARN blocks instead
        ([result("L4", "WARN")], 1),
        ([result("L4", "NODATA")], 1),
        ([result("L4", "FAIL")], 0),
        ([result("G2", "FAIL")], 0),
        ([result("S1", "FAIL")], 0),
    ],
)
def test_architecture_levels(changed: list[CheckResult], score: int) -> None:
    assert decided(*changed).categories["architecture stability"].score == score


def test_without_a_judged_log_architecture_is_at_most_one() -> None:
    results = [one for one in GOOD.values() if one.id != "L4"]
    assert decide(card(*results), RULE, MATRIX, BOOK).categories["architecture stability"].score == 1
