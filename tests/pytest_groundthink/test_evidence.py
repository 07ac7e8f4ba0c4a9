"""Decisions on whole evidence at every scale: what makes a GO, what takes it away, and what is said to do then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_groundthink.decision import decide
from pytest_groundthink.ladder import build_ladder
from pytest_groundthink.scorecard import Decision, Scorecard

from .cards import BOOK, MATRIX, RUNGS, SCALES, TOKENS, changed, check, evidence, law_at, point, whole, without

DECIDED = tuple(RUNGS)
RANK = {"HOLD": 0, "CAUTION": 1, "GO": 2}
SPIKY = [check(id_, "WARN") for id_ in ("G2", "G3", "G4")]


@pytest.fixture(scope="module", autouse=True)
def few_resamples() -> Iterator[None]:
    """How wide the intervals are is tested with the scaling law."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pytest_groundthink.scaling.RESAMPLES", 5)
        yield


def decision_of(card: Scorecard, others: list[Scorecard]) -> Decision:
    return decide(card, SCALES[str(card.subject.scale)], MATRIX, BOOK, others)


def said(lines: tuple[str, ...], *words: str) -> bool:
    return any(all(word in line for word in words) for line in lines)


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


def test_a_prediction_that_was_not_finite_is_none() -> None:
    card = changed(whole("3.5M"), check("R1", "FAIL", measurements=(point("worst_error", None),)))
    assert decision_of(card, []).categories["resource prediction"].score == 0


@pytest.mark.parametrize(
    ("losses", "score", "told"),
    [
        ({}, 0, "one scale"),
        ({"2M": 1.0}, 1, "2 runs at 2 scales"),
        ({"2M": 1.0, "1M": 1.0}, 1, "fewer than 4 scales"),
        ({"2M": 1.0, "1M": 1.0, "TINY": 1.0}, 3, "R^2 1.000"),
        ({"2M": 1.0, "1M": 1.03, "TINY": 0.99}, 2, "R^2 0.909"),
        ({"2M": 1.15, "1M": 0.8, "TINY": 1.0}, 1, "R^2 0.009"),
        ({"2M": 0.5, "1M": 0.4, "TINY": 0.3}, 0, "more compute did not lower the loss"),
    ],
)
def test_levels_of_the_scaling_law(losses: dict[str, float], score: int, told: str) -> None:
    others = [whole(scale, loss=factor * law_at(scale)) for scale, factor in losses.items()]
    row = decision_of(whole("3.5M"), others).categories["scaling law fit"]
    assert told in "; ".join(row.evidence), row.evidence
    assert row.score == score, row.evidence


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"kind": "HY"}, "is a HY, not a GF-MH"),
        ({"tokenizer": {"sha256": "other"}}, "another tokenizer"),
        ({"corpus": {"sha256": "other"}}, "its loss was measured on another text"),
        ({"training": {"hashes": {"x": "y"}}}, "hashes of its training is"),
        ({"training": {"length": 64}}, "length of its training is 64 for 256"),
        (
            {"training": {"hashes_before": [{"x": "y"}]}},
            "hashes_before of its training is [{'x': 'y'}] for not recorded",
        ),
        ({"training": {"tokens_before": TOKENS}}, "trained on 200,000,000 tokens for 100,000,000"),
        ({"tokens": TOKENS // 2}, "trained on 50,000,000 tokens for 100,000,000"),
        ({"sabotage": "dead-mamba"}, "was broken on purpose (dead-mamba)"),
        ({"checkpoint": None}, "the tokens of its training are not recorded"),
        ({"checkpoint": {"sha256": "a", "tokens": TOKENS}}, "how it was trained is not recorded"),
    ],
)
def test_another_recipe_is_left_out_with_what_differs(changes: dict[str, Any], why: str) -> None:
    ladder = build_ladder(whole("3.5M"), [whole("2M"), whole("1M", **changes)], 0.05)
    assert [run.point.scale for run in ladder.runs] == ["3.5M", "2M"]
    assert len(ladder.left_out) == 1
    assert why in ladder.left_out[0]
    decision = decision_of(whole("3.5M"), [whole("2M"), whole("1M", **changes)])
    assert any(why in told for told in decision.categories["scaling law fit"].evidence)
    assert decision.scaling is not None
    assert why in decision.scaling.note


def test_what_may_differ_is_told() -> None:
    other = whole("2M", seed=3, device="cuda", training={"lr": 4e-3, "out": "elsewhere", "seconds": 5.0})
    ladder = build_ladder(whole("3.5M"), [other], 0.05)
    assert not ladder.left_out
    (note,) = ladder.notes
    assert "device cuda for cpu" in note
    assert "training's lr 0.004 for 0.002" in note
    assert "training's seed 3 for 0" in note
    assert "elsewhere" not in note


def test_what_differs_in_many_runs_is_one_line_that_counts_and_names_them() -> None:
    others = [whole(scale, seed=1, dtype="bfloat16") for scale in ("TINY", "1M")] + [whole("2M", dtype="bfloat16")]
    (note,) = build_ladder(whole("3.5M"), others, 0.05, lambda card: str(card.subject.scale)).notes
    assert (
        note == "3 runs (TINY, 1M, 2M) have dtype bfloat16 for float32; 2 runs (TINY, 1M) have training's seed 1 for 0"
    )
    assert build_ladder(whole("3.5M"), [whole("2M")], 0.05).notes == ()


def test_tokens_may_grow_with_parameters() -> None:
    def alike(scale: str) -> Scorecard:
        params = (whole(scale).subject.params or {})["total"]
        return whole(scale, tokens=20 * params)

    card, others = alike("3.5M"), [alike(scale) for scale in ("TINY", "1M", "2M")]
    ladder = build_ladder(card, [*others, whole("0.3M")], 0.05)
    assert ladder.proportional
    assert len(ladder.runs) == 4
    decision = decision_of(card, others)
    assert decision.scaling is not None
    assert decision.scaling.predicted is not None
    params_8m = (whole("8M").subject.params or {})["total"]
    assert decision.scaling.predicted.compute == pytest.approx(6 * params_8m * 20 * params_8m, rel=1e-6)


def test_what_other_runs_reach_is_not_the_subjects() -> None:
    """Two runs of other seeds are 10% below 3.5M; the subject itself is 1% below."""
    below = law_at("3.5M")
    others = [whole(scale) for scale in ("3.5M", "2M", "1M")] + [whole("8M", seed=s, loss=0.9 * below) for s in (1, 2)]
    good, poor = (decision_of(whole("8M", loss=factor * below), others) for factor in (0.9, 0.99))
    assert not [one for one in good.blockers if "loss below that at 3.5M" in one]
    assert [one for one in poor.blockers if "the subject's is" in one]
    assert poor.outcome == "HOLD"


def test_other_thresholds_than_the_shipped_ones_are_said() -> None:
    own = whole("3.5M")
    used = msgspec.structs.replace(own.provenance.thresholds, sha256="0" * 64, profile="mine")
    card = msgspec.structs.replace(own, provenance=msgspec.structs.replace(own.provenance, thresholds=used))
    assert "other thresholds than the shipped ones (profile mine)" in decision_of(card, []).notes[0]


def test_a_subject_that_was_trained_for_longer_has_its_ladder_all_the_same() -> None:
    card = whole("8M", tokens=8 * TOKENS)
    others = [whole(scale) for scale in ("8M", "3.5M", "2M", "1M")]
    ladder = build_ladder(card, others, 0.05)
    assert [run.point.scale for run in ladder.runs] == ["8M", "3.5M", "2M", "1M"]
    assert {run.point.tokens for run in ladder.runs} == {TOKENS}
    assert "8M was trained on 100,000,000 tokens, the subject on 800,000,000" in ladder.notes[0]
    decision = decision_of(card, others)
    assert decision.categories["scaling law fit"].score == 3
    told = [one for one in decision.blockers if "loss below that at 3.5M" in one]
    assert told, "what another run has reached is not the subject's"
    assert "not trained on as many tokens" in told[0]
    alone = build_ladder(card, others[1:], 0.05)
    assert [run.point.tokens for run in alone.runs] == [8 * TOKENS], "without a run at its scale nothing stands for it"


def test_the_subject_in_its_own_ladder_counts_once() -> None:
    card = whole("3.5M")
    assert len(build_ladder(card, [card, card], 0.05).runs) == 1


def test_recorded_compute_goes_before_the_rule_of_thumb() -> None:
    (run,) = build_ladder(whole("3.5M", training={"flop": 1e15}), [], 0.05).runs
    assert run.point.compute == 1e15
    (run,) = build_ladder(whole("3.5M"), [], 0.05).runs
    assert run.point.compute == 6 * run.point.params * TOKENS


class TestImprovement:
    """8M must lie below 3.5M by 5% or 0.5 nats, in two runs."""

    def blockers(self, *others: Scorecard, factor: float = 1.0) -> tuple[str, ...]:
        card = whole("8M", loss=law_at("8M") * factor)
        return tuple(one for one in decision_of(card, list(others)).blockers if one.startswith("L2 loss below"))

    def test_two_runs_of_other_seeds_do(self) -> None:
        assert self.blockers(whole("3.5M"), whole("8M", seed=1, loss=law_at("8M"))) == ()

    def test_one_run_does_not_nor_the_same_seed_again(self) -> None:
        (one,) = self.blockers(whole("3.5M"))
        assert "1 of 1 reach" in one
        (again,) = self.blockers(whole("3.5M"), whole("8M", seed=0, loss=law_at("8M") * 0.99))
        assert "1 of 2 reach" in again

    def test_without_the_smaller_scale_it_holds(self) -> None:
        (one,) = self.blockers(whole("8M", seed=1, loss=1.0))
        assert "no scorecard at 3.5M" in one

    def test_too_small_a_gain_holds_and_says_how_much_is_missing(self) -> None:
        below = law_at("3.5M")
        others = [whole("3.5M"), whole("8M", seed=1, loss=below * 0.96)]
        (one,) = self.blockers(*others, factor=below * 0.96 / law_at("8M"))
        assert "0 of 2 reach" in one
        steps = decision_of(whole("8M", loss=below * 0.96), others).next_steps
        assert said(steps, f"lower the loss at 8M by {below * 0.01:.3f} nats")

    def test_either_limit_is_enough(self) -> None:
        high = [whole("3.5M", loss=20.0), whole("8M", seed=1, loss=19.4)]
        assert self.blockers(*high, factor=19.4 / law_at("8M")) == (), "0.5 nats are less than 5% of 20"


def test_the_ladder_of_30m_must_predict_8m() -> None:
    card, others = evidence("30M")
    off = [whole("8M", loss=law_at("8M") * 1.08) if one.subject.scale == "8M" else one for one in others]
    (blocker,) = decision_of(card, off).blockers
    assert "predicts 8M within 5%" in blocker
    assert "8M is mispredicted by 7" in blocker
    gone = [one for one in others if one.subject.scale != "8M"]
    (blocker,) = decision_of(card, gone).blockers
    assert "there are 3 scales" in blocker
    replaced = [*gone, whole("1M")]
    (blocker,) = decision_of(card, replaced).blockers
    assert "there is no run at 8M" in blocker


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
