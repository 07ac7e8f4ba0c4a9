"""Decisions on whole evidence at every scale: what makes a GO, what takes it away, and what is said to do then."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_groundthink.decision import decide
from pytest_groundthink.scorecard import Decision, Summary

from .cards import (
    BOOK,
    DECIDED,
    MATRIX,
    RUNGS,
    SCALES,
    SPIKY,
    changed,
    check,
    decision_of,
    evidence,
    law_at,
    point,
    said,
    whole,
    without,
)

pytestmark = pytest.mark.usefixtures("few_resamples")

RANK = {"HOLD": 0, "CAUTION": 1, "GO": 2}


@pytest.mark.parametrize("scale", DECIDED)
def test_whole_evidence_is_a_go(scale: str) -> None:
    decision = decision_of(*evidence(scale))
    assert decision.blockers == ()
    assert decision.outcome == "GO"
    assert {name: row.score for name, row in decision.categories.items()} == dict.fromkeys(decision.categories, 3)
    assert decision.total == 15
    assert decision.next_steps == ()
    assert decision.scaling is not None
    assert decision.scaling.scales == len(RUNGS[scale]) + 1
    assert (decision.scaling.predicted is None) == (SCALES[scale].next is None)


@pytest.mark.parametrize("scale", DECIDED)
def test_middling_evidence_is_caution(scale: str) -> None:
    card, others = evidence(scale, factor=0.93, error=0.3)
    decision = decision_of(changed(card, *SPIKY), others)
    assert decision.blockers == ()
    assert [row.score for row in decision.categories.values()] == [1, 3, 2, 1]
    assert (decision.outcome, decision.total) == ("CAUTION", 9.0)
    assert said(decision.next_steps, "the total is 9: GO needs 1 more")
    assert said(decision.next_steps, "resource prediction is 1; 2 (+1) needs: within 20%")


@pytest.mark.parametrize("scale", DECIDED)
@pytest.mark.parametrize(
    ("named", "change"),
    [
        ("R1", lambda card, others: (without(card, "R1"), others)),
        ("one scale", lambda card, others: (card, [])),
        ("L2", lambda card, others: (without(card, "L2"), others)),
        ("C1a", lambda card, others: (changed(card, check("C1a", "FAIL", rate=0.3)), others)),
        ("G1b", lambda card, others: (changed(card, check("G1b", "NODATA", reason="crashed")), others)),
    ],
)
def test_what_is_taken_away_holds_and_is_named(scale: str, named: str, change: Any) -> None:
    decision = decision_of(*change(*evidence(scale)))
    assert decision.outcome == "HOLD"
    assert said((*decision.blockers, *decision.reasons), named)
    assert decision.next_steps


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(DECIDED), st.data())
def test_no_missing_check_ever_raises_the_outcome(scale: str, data: st.DataObject) -> None:
    card, others = evidence(scale)
    statuses = data.draw(
        st.lists(st.sampled_from(["PASS", "WARN", "FAIL"]), min_size=len(card.checks), max_size=len(card.checks))
    )
    broken = msgspec.structs.replace(
        card,
        checks=tuple(
            msgspec.structs.replace(one, status=type(one.status)(status))
            for one, status in zip(card.checks, statuses, strict=True)
        ),
    )
    ids = data.draw(st.lists(st.sampled_from([one.id for one in card.checks]), unique=True))
    emptied = changed(broken, *(check(id_, "NODATA", reason="gone") for id_ in ids))
    for before, after in ((card, without(card, *ids)), (broken, without(broken, *ids)), (broken, emptied)):
        assert RANK[decision_of(after, others).outcome] <= RANK[decision_of(before, others).outcome]
        assert RANK[decision_of(after, []).outcome] <= RANK[decision_of(before, others).outcome]


@pytest.mark.parametrize("status", ["missing", "NODATA"])
def test_a_log_that_is_there_and_was_not_looked_at_holds(status: str) -> None:
    card, others = evidence("3.5M", capabilities=("subword_tokenizer", "training_log"))
    assert decision_of(changed(card, check("L4", "FAIL")), others).outcome == "HOLD"
    hidden = without(card, "L4") if status == "missing" else changed(card, check("L4", status, reason="damaged"))
    decision = decision_of(hidden, others)
    assert decision.outcome == "HOLD"
    assert said(decision.blockers, "L4")


@settings(deadline=None)
@given(st.sampled_from(DECIDED), st.sampled_from(["params", "checkpoint", "tokenizer", "corpus", "scale"]))
def test_no_missing_fact_about_the_subject_ever_raises_the_outcome(scale: str, name: str) -> None:
    card, others = evidence(scale)
    blind = msgspec.structs.replace(card, subject=msgspec.structs.replace(card.subject, **{name: None}))
    decision = decide(blind, SCALES[scale], MATRIX, BOOK, others)
    assert decision.outcome == "HOLD"
    assert decision.categories["scaling law fit"].score == 0


def test_scales_that_nothing_follows_are_decided_too() -> None:
    for scale in ("0.3M", "TINY", "1M", "2M", "6M"):
        assert decision_of(whole(scale), []).outcome == "HOLD"
        others = [whole(rung) for rung in ("0.3M", "TINY", "1M", "2M") if rung != scale]
        decision = decision_of(whole(scale), others)
        assert decision.outcome == "GO", decision.blockers
        assert decision.scaling is not None
        assert decision.scaling.predicted is None


@pytest.mark.parametrize(("error", "score"), [(0.09, 3), (0.1, 3), (0.15, 2), (0.2, 2), (0.5, 1), (0.51, 0)])
def test_levels_of_the_resource_prediction(error: float, score: int) -> None:
    decision = decision_of(whole("3.5M", error=error), [])
    assert decision.categories["resource prediction"].score == score


def test_a_prediction_that_was_not_finite_is_none() -> None:
    card = changed(whole("3.5M"), check("R1", "FAIL", measurements=(point("worst_error", None),)))
    assert decision_of(card, []).categories["resource prediction"].score == 0


def test_what_a_check_without_data_found_counts_for_nothing() -> None:
    card, others = evidence("3.5M")
    of = {
        "resource prediction": check("R1", "NODATA", measurements=(point("worst_error", 0.05),)),
        "canary performance": check("C1a", "NODATA", rate=0.97),
        "scaling law fit": check("L2", "NODATA", measurements=(point("valid_loss", law_at("3.5M")),)),
    }
    for category, result in of.items():
        decision = decision_of(changed(card, result), others)
        assert decision.outcome == "HOLD"
        assert decision.categories[category].score == 0, decision.categories[category].evidence
    scores = Summary.of(
        [of["canary performance"]], collected=1, reported=1, complete=True, scores={"lite": ("C1a",)}
    ).scores
    assert scores == {}


def test_other_thresholds_than_the_shipped_ones_are_said() -> None:
    own = whole("3.5M")
    used = msgspec.structs.replace(own.provenance.thresholds, sha256="0" * 64, profile="mine")
    card = msgspec.structs.replace(own, provenance=msgspec.structs.replace(own.provenance, thresholds=used))
    assert "other thresholds than the shipped ones (profile mine)" in decision_of(card, []).notes[0]


class TestOutside:
    """LongBench and InfiniteBench are needed at 125M where NIAH exceeds 80% at 16,384 tokens."""

    def decision(self, accuracy: float | None, *results: Any) -> Decision:
        card, others = evidence("125M")
        detail = {} if accuracy is None else {"detail": {"accuracy": {"16384": accuracy}}}
        niah = check("NIAH-16K", rate=0.5 if accuracy is None else accuracy, of_rate=detail)
        return decision_of(changed(card, niah, *results), others)

    def test_they_are_not_needed_where_needles_are_lost(self) -> None:
        assert self.decision(0.8).outcome == "GO"

    def test_where_needles_are_found_they_hold_and_it_says_how_to_bring_them(self) -> None:
        decision = self.decision(0.81)
        assert decision.outcome == "HOLD"
        assert said(decision.blockers, "LongBench is needed", "it is 81%")
        assert said(decision.next_steps, "InfiniteBench", "--gt-checks", "@check('InfiniteBench')")

    def test_a_check_of_the_users_own_brings_them(self) -> None:
        assert self.decision(0.81, check("LongBench"), check("InfiniteBench", "WARN")).outcome == "GO"
        failed = self.decision(0.81, check("LongBench"), check("InfiniteBench", "FAIL", reason="F1 0.2"))
        assert said(failed.blockers, "InfiniteBench", "F1 0.2")

    def test_unknown_is_no_excuse(self) -> None:
        assert self.decision(None).outcome == "HOLD"
        card, others = evidence("125M")
        decision = decision_of(without(card, "NIAH-16K"), others)
        assert decision.outcome == "HOLD"
        assert said(decision.next_steps, "run NIAH-16K: pytest -m graduation --model GF-MH@125M")


def test_steps_count_what_is_missing() -> None:
    card = changed(whole("3.5M"), check("C1a", "FAIL", rate=0.49), check("C1b-lite", "WARN", rate=0.84))
    decision = decision_of(card, [])
    assert said(decision.next_steps, "C1a needs 4 more of 400 to reach 50%")
    assert said(decision.next_steps, "C1a needs 184 more of 400 right to reach 95%") is False, (
        "C1a is a blocker already"
    )
    assert said(decision.next_steps, "mean of C1a, C1b-lite needs 148 more of 800 right to reach 85%")
    almost = changed(whole("3.5M"), check("C1a", "WARN", rate=0.94))
    assert said(decision_of(almost, []).next_steps, "C1a needs 4 more of 400 right to reach 95%")
    assert said(decision.next_steps, "measure 3 more scales (2M, 1M, TINY)", "100,000,000 tokens", "--model GF-MH@2M")


def test_a_subject_that_was_broken_on_purpose_holds() -> None:
    card, others = evidence("3.5M")
    broken = msgspec.structs.replace(card, subject=msgspec.structs.replace(card.subject, sabotage="deaf"))
    assert said(decision_of(broken, others).blockers, "broken on purpose (deaf)")
