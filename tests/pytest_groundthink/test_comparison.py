from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gt.resources import fixtures_dir
from gt.stats import wilson
from pytest_groundthink.checks import load_checks
from pytest_groundthink.comparison import Against, CheckChange, compare, holm, unpaired
from pytest_groundthink.scorecard import Scorecard
from pytest_groundthink.verdict import Status, Threshold

from .scorecards import card, check, outcomes, rate, sabotaged, value


def against(before: Scorecard, after: Scorecard) -> Against:
    (other,) = compare([("a", before), ("b", after)], {}).others
    return other


def change(other: Against, id_: str) -> CheckChange:
    return next(one for one in other.checks if one.id == id_)


def test_a_real_drop_is_significant_and_a_small_one_is_not() -> None:
    before = card(rate("C1a", outcomes(0.97)), rate("C1b", outcomes(0.90)))
    after = card(rate("C1a", outcomes(0.80)), rate("C1b", outcomes(0.895)))
    other = against(before, after)
    dropped, same = (change(other, id_).metrics[0] for id_ in ("C1a", "C1b"))
    assert dropped.test is not None
    assert dropped.test.method == "sign flip over clusters"
    assert dropped.turn == "worse"
    assert dropped.significant
    assert dropped.test.better == 0
    assert dropped.change == pytest.approx(-dropped.test.worse / 400)
    assert dropped.test.ci95[1] < 0
    assert same.turn == "worse"
    assert not same.significant
    assert change(other, "C1a").regression
    assert not change(other, "C1b").regression
    assert [one.id for one in other.checks] == ["C1a", "C1b"]


def test_the_same_items_tell_more_than_others_do() -> None:
    before, after = outcomes(0.90), outcomes(0.87)
    paired = change(against(card(rate("C1a", before)), card(rate("C1a", after))), "C1a").metrics[0].test
    other_seed = change(against(card(rate("C1a", before)), card(rate("C1a", after), seed=1)), "C1a").metrics[0].test
    assert paired is not None
    assert other_seed is not None
    assert paired.p_value < 0.05 < other_seed.p_value
    assert other_seed.method == "unpaired intervals"
    assert other_seed.note == "other seeds draw other items"
    assert other_seed.better is None


@pytest.mark.parametrize(("kind", "method"), [("niah", "unpaired intervals"), ("canary", "sign flip over clusters")])
def test_items_that_are_cut_from_the_text_pair_only_with_the_same_text(kind: str, method: str) -> None:
    before = card(rate("X", outcomes(0.9), kind=kind))
    after = card(rate("X", outcomes(0.8), kind=kind), corpus="d" * 64)
    test = change(against(before, after), "X").metrics[0].test
    assert test is not None
    assert test.method == method


def test_other_templates_do_not_pair() -> None:
    before, after = card(rate("C1a", outcomes(0.9))), card(rate("C1a", outcomes(0.5, templates=20)))
    test = change(against(before, after), "C1a").metrics[0].test
    assert test is not None
    assert test.method == "unpaired intervals"
    assert "other templates" in test.note
    assert test.p_value < 0.001


def test_regressions_come_first_the_worst_before_all() -> None:
    passes: dict[str, tuple[float | None, float | None]] = {"x": (1.0, None)}
    ids = {"same": ("PASS", "PASS"), "up": ("FAIL", "PASS"), "warn": ("PASS", "WARN"), "fail": ("WARN", "FAIL")}
    ids |= {"lost": ("PASS", "NODATA"), "found": ("NODATA", "PASS"), "seen": ("NODATA", "FAIL")}
    before = card(*(check(id_, one, passes=passes) for id_, (one, _) in ids.items()), rate("C1a", outcomes(0.97)))
    after = card(*(check(id_, one, passes=passes) for id_, (_, one) in ids.items()), rate("C1a", outcomes(0.5)))
    other = against(before, after)
    assert [one.id for one in other.checks] == ["fail", "seen", "lost", "warn", "C1a", "up", "found", "same"]
    assert {one.id: one.turn for one in other.checks}["lost"] == "worse"


def test_what_was_left_out_of_a_run_is_neither_worse_nor_better() -> None:
    other = against(card(check("S0"), check("S1")), card(check("S1"), check("S2")))
    assert {one.id: one.turn for one in other.checks} == {"S0": "gone", "S1": "same", "S2": "new"}
    assert not any(one.regression or one.improvement for one in other.checks)
    not_asked = against(card(check("S0")), card(check("S0", "NODATA", applicable=False)))
    (lost,) = not_asked.checks
    assert (lost.turn, lost.applied, lost.applies) == ("gone", True, False)
    assert all(one.applied and one.applies for one in other.checks)


@pytest.mark.parametrize(
    ("passes", "before", "after", "turn"),
    [
        ((0.9, None), 0.95, 0.91, "worse"),
        ((0.9, None), 0.5, 0.6, "better"),
        ((None, 4), 3.0, 3.5, "worse"),
        ((0, 1e-5), 1e-6, 2e-6, "worse"),
        ((0, 1e-5), 2e-6, 0.0, "better"),
        ((1, 1), 0.5, 1.0, "better"),
        ((0.3, 3.0), 1.0, 2.0, "moved"),
        ((0.3, 3.0), 2.0, 4.0, "worse"),
        ((0.3, 3.0), 0.1, 0.2, "better"),
        ((0.9, None), 0.95, None, "worse"),
        ((0.9, None), None, 0.1, "better"),
        ((0.9, None), 0.95, 0.95, "same"),
    ],
)
def test_the_band_says_which_way_is_better(
    passes: tuple[float | None, float | None], before: float | None, after: float | None, turn: str
) -> None:
    pair = [card(check("X", "PASS", value("x", one), passes={"x": passes})) for one in (before, after)]
    assert against(*pair).checks[0].metrics[0].turn == turn


@pytest.mark.parametrize(
    ("id_", "metric", "passes", "turn"),
    [("Q1", "perplexity", (1, None), "worse"), ("D5", "coupling_ratio", (0, None), "moved")],
)
def test_a_metric_may_say_that_its_band_is_no_direction(
    id_: str, metric: str, passes: tuple[float | None, float | None], turn: str
) -> None:
    pair = [card(check(id_, "PASS", value(metric, one), passes={metric: passes})) for one in (50.0, 100.0)]
    described = load_checks(fixtures_dir() / "checks.yaml").checks
    comparison = compare([("a", pair[0]), ("b", pair[1])], described)
    assert comparison.others[0].checks[0].metrics[0].turn == turn


def test_what_no_band_judges_is_shown_and_not_tested() -> None:
    pair = [card(check("X", "PASS", value("x", one, ci95=(one - 0.1, one + 0.1)), passes={})) for one in (1.0, 9.0)]
    comparison = compare([("a", pair[0]), ("b", pair[1])], {})
    (metric,) = comparison.others[0].checks[0].metrics
    assert (metric.turn, metric.test, metric.judged, metric.change) == ("moved", None, False, 8.0)
    assert comparison.tests == 0


@pytest.mark.parametrize(("kind", "tests"), [("state", 0), ("gate", 0), ("diagnostic", 0), ("learning", 1), ("lrd", 1)])
def test_within_the_limits_of_a_state_less_is_no_regression(kind: str, tests: int) -> None:
    passes: dict[str, tuple[float | None, float | None]] = {"x": (0.01, None)}
    pair = [
        card(check("X", "PASS", value("x", n, ci95=(n - 0.1, n + 0.1)), passes=passes, kind=kind)) for n in (9.0, 5.0)
    ]
    comparison = compare([("a", pair[0]), ("b", pair[1])], {})
    (found,) = comparison.others[0].checks
    assert comparison.tests == tests
    assert found.metrics[0].turn == "worse"
    assert found.regression == bool(tests)


def test_values_of_one_name_are_told_apart_by_their_note() -> None:
    passes: dict[str, tuple[float | None, float | None]] = {"rise": (0.0, None)}
    before = card(check("D3", "PASS", value("rise", 1.0, "mamba; x"), value("rise", 2.0, "rwkv; x"), passes=passes))
    after = card(check("D3", "PASS", value("rise", 1.5, "rwkv; y"), value("rise", 3.0, "mamba; y"), passes=passes))
    metrics = against(before, after).checks[0].metrics
    assert [(one.part, one.before, one.after) for one in metrics] == [("mamba", 1.0, 3.0), ("rwkv", 2.0, 1.5)]


def test_p_values_are_adjusted_for_all_tests_of_all_scorecards() -> None:
    before = card(rate("C1a", outcomes(0.90)), rate("C1b", outcomes(0.90)))
    slightly = card(rate("C1a", outcomes(0.87)), rate("C1b", outcomes(0.90)))
    alone = compare([("a", before), ("b", slightly)], {})
    among = compare([("a", before), *((str(index), slightly) for index in range(20))], {})
    assert (alone.tests, among.tests) == (2, 40)
    tests = [comparison.others[0].checks[0].metrics[0].test for comparison in (alone, among)]
    assert tests[0] is not None
    assert tests[1] is not None
    assert tests[0].p_value == tests[1].p_value
    assert tests[0].p_adjusted == pytest.approx(2 * tests[0].p_value)
    assert tests[1].p_adjusted > tests[0].p_adjusted


def test_differences_say_what_limits_the_comparison() -> None:
    before = card(check("S0"), step=100)
    after = sabotaged(card(check("S0"), seed=3, thresholds="e" * 64, step=200, commit="1234567890abcdef"), "dead-mamba")
    found = {one.what: (one.before, one.after, one.means) for one in against(before, after).differences}
    assert list(found) == ["thresholds", "seed", "sabotage", "version", "checkpoint"]
    assert found["seed"] == ("0", "3", "other items were drawn: nothing can be paired")
    assert found["sabotage"][1] == "dead-mamba"
    assert found["checkpoint"][:2] == ("aaaaaaaaaaaa step 100", "aaaaaaaaaaaa step 200")
    assert not against(before, before).differences


def test_bands_that_differ_are_marked_on_their_check_alone() -> None:
    bands = [Threshold(passes={"x": (low, None)}, warn={}, source="s", combine="worst") for low in (1.0, 2.0)]
    before = card(check("X", threshold=bands[0]), check("Y", threshold=bands[0]))
    after = card(check("X", "FAIL", threshold=bands[1]), check("Y", threshold=bands[0]), thresholds="e" * 64)
    assert {one.id: one.same_bands for one in against(before, after).checks} == {"X": False, "Y": True}


def test_one_scorecard_is_no_comparison() -> None:
    with pytest.raises(ValueError, match="got 1 scorecard, expected at least two"):
        compare([("a", card())], {})


def test_holm_multiplies_by_those_that_are_left() -> None:
    # 4 x 0.005; 3 x 0.01; 2 x 0.03; 0.04, which may not be below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_only_raises_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(before <= after <= 1 for before, after in zip(p_values, adjusted, strict=True))
    ordered = [after for _, after in sorted(zip(p_values, adjusted, strict=True))]
    assert ordered == sorted(ordered)


def test_interval_of_a_difference_as_published() -> None:
    # Newcombe 1998, Stat. Med. 17:873, table II, example (a), method 10: 56/70 - 48/80 has 0.0524 to 0.3339.
    ci95, p_value = unpaired(48 / 80, wilson(48, 80), 56 / 70, wilson(56, 70))
    assert ci95 == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert p_value < 0.05


@given(st.floats(0.05, 0.95), st.floats(0.001, 0.2), st.floats(0.05, 0.95), st.floats(0.001, 0.2))
def test_an_unpaired_p_value_agrees_with_its_interval(a: float, wide_a: float, b: float, wide_b: float) -> None:
    (low, high), p_value = unpaired(a, (a - wide_a, a + wide_a), b, (b - wide_b, b + wide_b))
    assert 0 <= p_value <= 1
    if not math.isclose(p_value, 0.05, rel_tol=1e-6):
        assert (p_value < 0.05) == (low > 0 or high < 0)


def test_a_status_is_a_word() -> None:
    assert against(card(check("S0")), card(check("S0", "FAIL"))).checks[0].after is Status.FAIL
