"""Decisions in which a category cannot apply to the kind of model, and those in which it only seems so."""

from __future__ import annotations

import msgspec
import pytest

from pytest_groundthink.scorecard import Scorecard

from .cards import (
    DECIDED,
    RUNGS,
    SCALES,
    SPIKY,
    TOKENS,
    changed,
    check,
    decision_of,
    evidence,
    law_at,
    said,
    whole,
    without,
)

pytestmark = pytest.mark.usefixtures("few_resamples")

NEEDS_SCALES = ("scaling law fit", "resource prediction")


def of_one_scale(card: Scorecard) -> Scorecard:
    """The scorecard of a kind of model that exists at one scale alone."""
    return changed(card, check("R1", "NODATA", reason="lacks other scales of its kind", applicable=False))


@pytest.mark.parametrize("scale", DECIDED)
def test_what_cannot_apply_is_left_out_and_the_total_scaled_up(scale: str) -> None:
    decision = decision_of(of_one_scale(whole(scale)), [])
    assert {name for name, row in decision.categories.items() if row.score is None} == set(NEEDS_SCALES)
    assert (decision.outcome, decision.total, decision.blockers) == ("GO", 15, ())
    assert said(decision.reasons, "scaling law fit and resource prediction cannot apply", "9 of the 9")
    poor = decision_of(changed(of_one_scale(whole(scale)), *SPIKY), [])
    assert (poor.outcome, poor.total) == ("CAUTION", 10), "6 of 9 are 10 of 15, but one of the two is 1"
    failed = decision_of(changed(of_one_scale(whole(scale)), check("S1", "FAIL")), [])
    assert failed.outcome == "HOLD"


@pytest.mark.parametrize("scale", DECIDED)
def test_what_a_registration_leaves_out_keeps_it_from_a_go(scale: str) -> None:
    card, others = evidence(scale, withheld=("states", "two_components"))
    decision = decision_of(card, others)
    assert (decision.outcome, decision.total, decision.blockers) == ("CAUTION", 15, ())
    (reason,) = decision.reasons
    assert "offers recurrent states and an RWKV and a Mamba component, which its registration leaves out" in reason
    assert said(decision.next_steps, "register it with recurrent states and")
    assert decision_of(changed(card, check("G1b", "FAIL")), others).outcome == "HOLD"


def test_without_a_log_a_ladder_and_r1_nothing_goes() -> None:
    card = without(of_one_scale(whole("3.5M")), "L4")
    decision = decision_of(card, [])
    assert (decision.outcome, decision.total, decision.blockers) == ("CAUTION", 10, ())
    assert said(decision.reasons, "architecture stability is 1", "where a category is left out, GO needs 2 of each")
    assert not said(decision.reasons, "every requirement")
    assert said(decision.next_steps, "architecture stability is 1; 2 (+2.5) needs")
    warned = changed(of_one_scale(whole("3.5M", rate=0.86)), check("C1a", rate=0.96))
    assert [row.score for row in decision_of(warned, []).categories.values()] == [3, 3, None, None]
    assert decision_of(warned, []).outcome == "GO"


@pytest.mark.parametrize("scale", DECIDED)
@pytest.mark.parametrize("status", ["missing", "NODATA", "FAIL"])
def test_what_could_have_been_measured_is_never_left_out(scale: str, status: str) -> None:
    card = whole(scale)
    card = without(card, "R1") if status == "missing" else changed(card, check("R1", status, reason="no memory"))
    decision = decision_of(card, [])
    assert decision.outcome == "HOLD"
    assert [decision.categories[name].score for name in NEEDS_SCALES] == [0, 0]


@pytest.mark.parametrize(
    ("capabilities", "reason"),
    [
        (("scales",), "not required of this kind of model, which lacks operators with kernels of this project"),
        (("scales",), "not required of this kind of model, which lacks other scales of its kind"),
        ((), "not required of this kind of model, which lacks operators with kernels of this project"),
        ((), "skipped by hand"),
    ],
)
def test_only_the_lack_of_other_scales_leaves_a_row_out(capabilities: tuple[str, ...], reason: str) -> None:
    card = whole("3.5M", capabilities=("subword_tokenizer", *capabilities))
    decision = decision_of(changed(card, check("R1", "NODATA", reason=reason, applicable=False)), [])
    assert decision.outcome == "HOLD"
    assert [decision.categories[name].score for name in NEEDS_SCALES] == [0, 0]


@pytest.mark.parametrize("scale", DECIDED)
def test_a_ladder_that_is_there_is_never_left_out(scale: str) -> None:
    def rising(name: str) -> Scorecard:
        return whole(name, loss=6 - law_at(name))

    card, others = of_one_scale(rising(scale)), [rising(name) for name in RUNGS[scale]]
    decision = decision_of(card, others)
    assert decision.outcome == "HOLD"
    assert decision.categories["scaling law fit"].score == 0
    assert "more compute did not lower the loss" in decision.categories["scaling law fit"].evidence
    rule = SCALES[scale]
    assert said(decision.blockers, "L2 loss below that") == (rule.improvement is not None)
    assert said(decision.blockers, "a ladder of") == (rule.ladder is not None)
    falling, more = evidence(scale)
    decision = decision_of(of_one_scale(falling), more)
    assert (decision.outcome, decision.categories["scaling law fit"].score) == ("GO", 3)


def test_other_scales_that_cannot_be_rungs_leave_no_row_out_but_other_kinds_and_the_same_weights_do() -> None:
    def score(card: Scorecard, *others: Scorecard) -> int | None:
        return decision_of(of_one_scale(card), list(others)).categories["scaling law fit"].score

    card, unrecorded = whole("3.5M"), whole("3.5M", checkpoint={"sha256": "a", "tokens": TOKENS})
    assert score(card, whole("2M", tokens=TOKENS // 2)) == 0
    assert score(unrecorded, whole("2M")) == 0
    again = msgspec.structs.replace(card, subject=msgspec.structs.replace(card.subject, scale="2M"))
    for others in ([], [whole("2M", kind="HY")], [whole("3.5M", seed=1)], [again]):
        assert score(card, *others) is None


def test_the_model_itself_is_never_left_out() -> None:
    card = of_one_scale(whole("3.5M"))
    mute = changed(card, *(check(id_, "NODATA", reason="n/a", applicable=False) for id_ in ("C1a", "C1b-lite")))
    decision = decision_of(mute, [])
    assert decision.categories["canary performance"].score == 0
    assert decision.outcome == "HOLD"


def test_steps_say_what_a_level_brings_of_the_scaled_total() -> None:
    decision = decision_of(changed(of_one_scale(whole("3.5M", rate=0.86)), *SPIKY, check("C1a", "WARN", rate=0.7)), [])
    assert decision.categories["canary performance"].score == 2
    assert decision.total == pytest.approx(7.5)
    assert said(decision.next_steps, "canary performance is 2; 3 (+2.5) needs")
