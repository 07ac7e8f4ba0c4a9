"""Decisions on ladders: which runs are their rungs, how well the law fits, and what each scale must gain."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_groundthink.ladder import build_ladder
from pytest_groundthink.scorecard import Scorecard

from .cards import TOKENS, TRAINING, decision_of, evidence, law_at, said, whole

pytestmark = pytest.mark.usefixtures("few_resamples")


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
        ({"corpus": {"sha256": "other", "name": "python-reference", "share": 0.9}}, "measured on another text"),
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


@pytest.mark.parametrize(
    ("share", "runs"), [(0.99, 2), (0.98, 1), (None, 1)], ids=["99%", "98%", "a file of that name"]
)
def test_the_reference_text_of_another_python_will_do(share: float | None, runs: int) -> None:
    card = whole("3.5M", corpus={"name": "python-reference", "sha256": "mine", "share": 1.0})
    other = whole("2M", corpus={"name": "python-reference", "sha256": "other", "share": share})
    assert len(build_ladder(card, [other], 0.05).runs) == runs
    assert len(build_ladder(other, [card], 0.05).runs) == runs
    if share == 0.98:
        (why,) = build_ladder(card, [other], 0.05).left_out
        assert "one Python has 98.0% of the reference text, 99% are needed" in why


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


@pytest.mark.parametrize(("tokens", "loss"), [(TOKENS // 8, 9.0), (TOKENS // 8, 2.0), (8 * TOKENS, 9.0)])
def test_no_run_stands_for_a_subject_that_was_trained_for_less_or_is_worse(tokens: int, loss: float) -> None:
    card = whole("3.5M", tokens=tokens, loss=loss)
    others = [whole(scale) for scale in ("3.5M", "2M", "1M", "TINY")]
    ladder = build_ladder(card, others, 0.05)
    assert [run.point.tokens for run in ladder.runs] == [tokens]
    assert len(ladder.left_out) == 4
    decision = decision_of(card, others)
    assert decision.outcome == "HOLD"
    assert decision.categories["scaling law fit"].score == 0


def trained_on(**changes: Any) -> dict[str, Any]:
    """The training of a subject that goes on, on another text with other settings, from a run like the ladder's."""
    before = {"tokens_before": 4 * TOKENS, "hashes_before": [TRAINING["hashes"], {"chat.txt": "cd" * 32}]}
    return {"hashes": {"talk.txt": "ef" * 32}, "length": 512, **before, **changes}


LADDER = ("3.5M", "2M", "1M", "TINY")


def test_a_subject_that_goes_on_from_a_run_of_the_ladder_has_its_ladder() -> None:
    card = whole("3.5M", loss=0.97 * law_at("3.5M"), training=trained_on())
    ladder = build_ladder(card, [whole(scale) for scale in LADDER], 0.05)
    assert [run.point.scale for run in ladder.runs] == list(LADDER)
    assert {run.point.tokens for run in ladder.runs} == {TOKENS}
    assert ladder.stood_in_for
    assert "began on the text of the ladder's 3.5M" in ladder.notes[0]
    assert "500,000,000 tokens in all for 100,000,000" in ladder.notes[0]
    decision = decision_of(card, [whole(scale) for scale in LADDER])
    assert decision.categories["scaling law fit"].score == 3


@pytest.mark.parametrize(
    ("factor", "training", "scales"),
    [
        (1.03, trained_on(), LADDER),
        (0.97, trained_on(hashes_before=[{"other.txt": "cd" * 32}]), LADDER),
        (0.97, trained_on(hashes_before=[]), LADDER),
        (0.97, trained_on(), LADDER[1:]),
    ],
    ids=["worse", "began on another text", "goes on from nothing", "no run at its scale"],
)
def test_otherwise_a_subject_of_another_recipe_has_no_ladder(
    factor: float, training: dict[str, Any], scales: tuple[str, ...]
) -> None:
    card = whole("3.5M", loss=factor * law_at("3.5M"), training=training)
    ladder = build_ladder(card, [whole(scale) for scale in scales], 0.05)
    assert len(ladder.runs) == 1
    assert not ladder.stood_in_for
    (left_out,) = ladder.left_out
    assert left_out.count("@") == len(scales), "what is left out for one reason is told in one line"


def test_the_subject_in_its_own_ladder_counts_once() -> None:
    card = whole("3.5M")
    assert len(build_ladder(card, [card, card], 0.05).runs) == 1


def test_recorded_compute_goes_before_the_rule_of_thumb() -> None:
    (run,) = build_ladder(whole("3.5M", training={"flop": 1e15}), [], 0.05).runs
    assert run.point.compute == 1e15
    (run,) = build_ladder(whole("3.5M"), [], 0.05).runs
    assert run.point.compute == 6 * run.point.params * TOKENS


def test_each_run_of_a_ladder_has_the_compute_that_it_recorded_or_none_has() -> None:
    card, *others = (whole(scale, training={"flop": 1e15 / 2**n}) for n, scale in enumerate(("3.5M", "2M", "1M")))
    ladder = build_ladder(card, others, 0.05)
    assert [run.point.compute for run in ladder.runs] == [1e15, 5e14, 2.5e14]
    assert ladder.notes == ()
    assert "the flop of its training alone" in build_ladder(whole("3.5M"), others, 0.05).left_out[0]
    assert "the flop of the subject's training alone" in build_ladder(card, [whole("2M")], 0.05).left_out[0]


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
