import itertools
import json
import math
import random
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gt.probes.compare import median_interval
from gt.stats import (
    MCNEMAR,
    SIGN_FLIP,
    cluster_bootstrap,
    jackknife_interval,
    mcnemar,
    mean_interval,
    mean_stderr,
    paired_means,
    paired_rates,
    resampled_means,
    wilson,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "lm_metrics.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["wilson_95"], ids=lambda case: f"{case['successes']}of{case['trials']}")
def test_wilson_matches_statsmodels_and_scipy(case):
    low, high = wilson(case["successes"], case["trials"])
    assert low == pytest.approx(case["low"], abs=1e-12)
    assert high == pytest.approx(case["high"], abs=1e-12)


@pytest.mark.parametrize("case", GOLDEN["accuracy_stderr"], ids=lambda case: f"{case['correct']}of{case['total']}")
def test_mean_stderr_matches_lm_eval(case):
    mean, stderr = mean_stderr([1.0] * case["correct"] + [0.0] * (case["total"] - case["correct"]))
    assert mean == pytest.approx(case["accuracy"], rel=1e-12)
    assert stderr == pytest.approx(case["stderr"], rel=1e-12)


def test_standard_error_of_one_value_is_unknown():
    mean, stderr = mean_stderr([3.5])
    assert mean == 3.5
    assert math.isnan(stderr)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_contains_the_estimate_and_mirrors(case):
    successes, trials = case
    low, high = wilson(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    assert low < high
    assert wilson(trials - successes, trials) == (pytest.approx(1 - high), pytest.approx(1 - low))


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5), (math.nan, 5)])
def test_wilson_refuses_impossible_counts(successes, trials):
    with pytest.raises(ValueError, match="expected"):
        wilson(successes, trials)


def test_mean_refuses_nothing():
    with pytest.raises(ValueError, match="at least 1"):
        mean_stderr([])


def test_clusters_widen_the_interval():
    apart = {str(i): [1, 0, 1, 0, 1, 0, 1, 0, 1, 0] for i in range(40)}
    together = {str(i): [i % 2] * 10 for i in range(40)}
    mean, low, high = cluster_bootstrap(together, seed=0)
    apart_mean, apart_low, apart_high = cluster_bootstrap(apart, seed=0)
    assert mean == apart_mean == 0.5
    assert high - low > 2.5 * (apart_high - apart_low)
    # 40 all-or-nothing clusters are worth 40 items.
    assert (low, high) == (pytest.approx(wilson(20, 40)[0], abs=0.02), pytest.approx(wilson(20, 40)[1], abs=0.02))


@pytest.mark.parametrize("failures", [0, 1, 2, 398, 399, 400])
def test_interval_is_never_narrower_than_that_of_independent_items(failures):
    outcomes = [0.0] * failures + [1.0] * (400 - failures)
    mean, low, high = cluster_bootstrap({str(i): outcomes[i * 10 : i * 10 + 10] for i in range(40)}, seed=1)
    floor = wilson(400 - failures, 400)
    assert mean == pytest.approx(1 - failures / 400)
    assert low <= floor[0] < floor[1] <= high
    assert 0 <= low <= mean <= high <= 1


def test_one_cluster_is_no_certainty():
    assert cluster_bootstrap({"only": [1, 1, 1, 1]}, seed=0)[1] == wilson(4, 4)[0]


@given(st.dictionaries(st.text(max_size=3), st.lists(st.sampled_from([0.0, 1.0]), min_size=1), min_size=1, max_size=8))
def test_bootstrap_is_ordered_and_independent_of_the_mappings_order(clusters):
    mean, low, high = cluster_bootstrap(clusters, seed=3, resamples=50)
    assert 0 <= low <= mean <= high <= 1
    assert low < high
    assert cluster_bootstrap(dict(reversed(clusters.items())), seed=3, resamples=50) == (mean, low, high)


def test_bootstrap_returns_plain_floats():
    # numpy scalars do not survive the way through pytest-xdist.
    assert [type(x) for x in cluster_bootstrap({"a": [True, False], "b": [True]}, seed=0)] == [float] * 3


@pytest.mark.parametrize("clusters", [{}, {"a": []}, {"a": [2.0]}, {"a": [math.nan]}])
def test_bootstrap_refuses_what_is_no_rate(clusters):
    with pytest.raises(ValueError, match="expected"):
        cluster_bootstrap(clusters, seed=0)


def test_bootstrap_covers_the_true_rate():
    # Templates of very different difficulty, overall 70%: of 100 such studies about 95 intervals must hold it.
    import numpy as np

    rng = np.random.default_rng(0)
    covered = 0
    for study in range(100):
        difficulty = rng.beta(2.8, 1.2, size=40)
        clusters = {str(i): (rng.random(10) < p).astype(float).tolist() for i, p in enumerate(difficulty)}
        _, low, high = cluster_bootstrap(clusters, seed=study, resamples=400)
        covered += low <= 0.7 <= high
    assert covered >= 88


# Two-sided 95% quantiles of Student's t, from any table.
@pytest.mark.parametrize(("count", "quantile"), [(8, 2.3646), (16, 2.1314), (32, 2.0395)])
def test_mean_interval_uses_students_t(count, quantile):
    values = [math.sin(i) for i in range(count)]
    mean, error = mean_stderr(values)
    found, low, high = mean_interval(values)
    assert found == mean
    assert (high - mean) / error == pytest.approx(quantile, abs=2e-3)
    assert mean - low == pytest.approx(high - mean)


def test_resampled_columns_stay_paired() -> None:
    rows = [[float(value), value + 1.0] for value in range(20)]
    means = resampled_means(rows, seed=3)
    assert means.shape == (2000, 2)
    assert means[:, 1] - means[:, 0] == pytest.approx([1.0] * 2000)
    # The standard error of a mean of 0..19 is 5.77 / sqrt(20).
    assert means[:, 0].std() == pytest.approx(1.29, abs=0.08)
    assert means[:, 0].mean() == pytest.approx(9.5, abs=0.1)
    assert (resampled_means(rows, seed=3) == means).all()
    with pytest.raises(ValueError, match="got 1, expected at least 2"):
        resampled_means([[1.0]], seed=0)


# Armitage & Berry 1994, p. 127: 12 sputum specimens grew on medium A alone, 2 on B alone, of 50; and Bentur et al. 2009
# as worked by Fagerland, Lydersen & Laake 2013: 1 child was better and 7 were worse after treatment, of 21.
@pytest.mark.parametrize(("better", "worse", "p_value"), [(12, 2, 0.0129), (1, 7, 0.0703), (0, 0, 1), (5, 5, 1)])
def test_mcnemar_of_published_examples(better, worse, p_value):
    assert mcnemar(better, worse) == mcnemar(worse, better) == pytest.approx(p_value, abs=5e-5)


def items(outcomes):
    return {f"{number:03}": one for number, one in enumerate(outcomes)}


def test_paired_rates_of_independent_items_use_mcnemar():
    # Both 20, A alone 12, B alone 2, neither 16.
    found = paired_rates(items("1" * 20 + "0" * 12 + "1" * 2 + "0" * 16), items("1" * 32 + "0" * 18), seed=0)
    assert (found.better, found.worse, found.n, found.clusters) == (12, 2, 50, 50)
    assert found.difference == pytest.approx(0.2)
    assert (found.judged_by, found.p_value) == (MCNEMAR, pytest.approx(0.0129, abs=5e-5))
    assert found.ci95[0] > 0
    # By hand, Bonett & Price: 13/52 and 3/52 differ by 0.1923 with a standard error of 0.0721.
    assert found.ci95[0] <= 0.1923 - 1.96 * 0.0721 + 1e-4
    assert found.ci95[1] >= 0.1923 + 1.96 * 0.0721 - 1e-4


# Darwin's crossed and self-fertilised maize, in eighths of an inch; Fisher 1935, The Design of Experiments, section 21:
# 863 of 2^15 arrangements come to a total as high, 1,726 as far from 0.
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def test_sign_flips_of_darwins_maize():
    pairs = {str(number): [float(one)] for number, one in enumerate(MAIZE)}
    found = paired_means({name: [0.0] for name in pairs}, pairs, seed=0)
    assert found.p_value == 1726 / 32768
    assert found.difference == pytest.approx(314 / 15)
    assert (found.better, found.worse) == (13, 2)
    assert found.ci95[0] < found.difference < found.ci95[1]
    as_items = {name: ("1" if (d := MAIZE[int(name)]) < 0 else "0") * abs(d) for name in pairs}
    others = {name: ("1" if (d := MAIZE[int(name)]) > 0 else "0") * abs(d) for name in pairs}
    rates = paired_rates(as_items, others, seed=0)
    assert (rates.judged_by, rates.p_value) == (SIGN_FLIP, pytest.approx(1726 / 32768))


def test_drawn_sign_flips_agree_with_all_of_them():
    pairs = {f"{number}": [one] for number, one in enumerate([1.0, 2.5, -0.5, 1.5, 0.25, 2.0, -1.0, 0.75, 1.25] * 2)}
    values = [own[0] for own in pairs.values()]
    every = [abs(math.fsum(s * v for s, v in zip(signs, values, strict=True)))
             for signs in itertools.product((1, -1), repeat=len(values))]  # fmt: skip
    exact = sum(total >= abs(sum(values)) - 1e-9 for total in every) / len(every)
    found = paired_means({name: [0.0] for name in pairs}, pairs, seed=1)
    assert found.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact / 10_000) + 1e-4)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_sign_flips_of_single_items_are_mcnemars(pairs):
    first, second = ("".join(str(int(pair[which])) for pair in pairs) for which in (0, 1))
    single = paired_rates(items(first), items(second), seed=0)
    # A second item that both answer alike moves no sign.
    twofold = paired_rates(
        {name: one + "1" for name, one in items(first).items()},
        {name: one + "1" for name, one in items(second).items()},
        seed=0,
    )
    assert single.judged_by == MCNEMAR
    assert twofold.judged_by == SIGN_FLIP
    assert twofold.p_value == pytest.approx(single.p_value)
    assert twofold.ci95[0] <= twofold.difference <= twofold.ci95[1]
    swapped = paired_rates(items(second), items(first), seed=0)
    assert (swapped.difference, swapped.p_value) == (-single.difference, single.p_value)


def test_whole_clusters_that_change_say_less_than_as_many_items():
    before = {str(number): "0" * 10 for number in range(40)}
    few = before | {str(number): "1" * 10 for number in range(3)}
    spread = before | {str(number): "1" + "0" * 9 for number in range(30)}
    together, apart = paired_rates(before, few, seed=0), paired_rates(before, spread, seed=0)
    assert together.difference == apart.difference == pytest.approx(0.075)
    assert together.p_value == pytest.approx(0.25)
    assert apart.p_value < 1e-8
    assert together.ci95[0] < 0.01
    assert apart.ci95[0] > 0.04


def test_false_alarms_of_clustered_rates_stay_below_their_level():
    # Two subjects that differ by template at random and by nothing on average; McNemar over items errs far too often.
    import numpy as np

    rng = np.random.default_rng(0)
    alarms = by_items = 0
    for study in range(200):
        shift = rng.normal(0, 0.3, size=20)
        first = {str(i): "".join(map(str, rng.binomial(1, 0.5, size=10))) for i in range(20)}
        second = {str(i): "".join(map(str, rng.binomial(1, np.clip(0.5 + d, 0, 1), size=10)))
                  for i, d in enumerate(shift)}  # fmt: skip
        found = paired_rates(first, second, seed=study)
        alarms += found.p_value < 0.05
        by_items += mcnemar(found.better, found.worse) < 0.05
    assert alarms <= 18  # 10 expected; more than 18 has a chance of 0.4%
    assert by_items > 30


def test_equal_subjects_do_not_differ_but_are_not_known_to_be_equal():
    same = {str(number): "10" for number in range(20)}
    found = paired_rates(same, same, seed=0)
    assert (found.difference, found.p_value, found.better, found.worse) == (0.0, 1.0, 0, 0)
    assert found.ci95[0] < 0 < found.ci95[1]


@pytest.mark.parametrize(
    ("first", "second", "wrong"),
    [
        ({}, {}, "clusters: got none"),
        ({"a": "1"}, {"b": "1"}, "clusters: got a, b in one alone"),
        ({"a": "10"}, {"a": "1"}, "got 2 and 1 items"),
        ({"a": ""}, {"a": ""}, "got 0 and 0 items"),
        ({"a": "1x"}, {"a": "10"}, "nothing but 0 and 1"),
    ],
)
def test_pairs_must_be_of_the_same_items(first, second, wrong):
    with pytest.raises(ValueError, match=wrong):
        paired_rates(first, second, seed=0)


def test_paired_means_need_numbers_and_more_than_one_cluster():
    with pytest.raises(ValueError, match="not finite"):
        paired_means({"a": [1.0], "b": [math.nan]}, {"a": [1.0], "b": [1.0]}, seed=0)
    with pytest.raises(ValueError, match="got 1, expected at least 2"):
        paired_means({"a": [1.0]}, {"a": [1.0]}, seed=0)


def without_each(values, figure):
    return [figure([*values[:place], *values[place + 1 :]]) for place in range(len(values))]


def test_jackknife_of_a_mean_is_students_interval():
    values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0]
    found = jackknife_interval(statistics.fmean(values), without_each(values, statistics.fmean))
    assert found == pytest.approx(mean_interval(values))


def test_jackknife_covers_a_ratio():
    # Of 200 studies about 190 must hold the true ratio of 2.
    import numpy as np

    def ratio(chosen):
        return sum(pair[0] for pair in chosen) / sum(pair[1] for pair in chosen)

    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        below = rng.normal(5, 1, size=16)
        pairs = list(zip(2 * below + rng.normal(0, 2, size=16), below, strict=True))
        _, low, high = jackknife_interval(ratio(pairs), without_each(pairs, ratio))
        covered += low <= 2 <= high
    assert 180 <= covered < 200


def test_jackknife_of_what_is_not_finite_has_no_ends():
    value, low, high = jackknife_interval(2.0, [1.0, math.inf])
    assert (value, math.isnan(low), math.isnan(high)) == (2.0, True, True)


def test_a_median_lies_between_the_order_statistics_of_the_sign_test():
    assert median_interval([3.0, 1.0, 2.0, 9.0, 5.0])[0] == 3.0
    assert all(map(math.isnan, median_interval([3.0, 1.0, 2.0, 9.0, 5.0])[1:])), "five values have no 95% interval"
    assert median_interval([6, 5, 4, 3, 2, 1]) == (3.5, 1, 6)
    assert median_interval(range(1, 9)) == (4.5, 1, 8)
    assert median_interval(range(1, 10)) == (5, 2, 8)
    assert median_interval(range(1, 26)) == (13, 8, 18), "Conover's table A3: 7 outside at n = 25 leave 2.16%"
    with pytest.raises(ValueError, match="got none"):
        median_interval([])


@pytest.mark.parametrize("count", [6, 8, 20])
def test_the_interval_of_a_median_holds_it_and_that_of_a_resampled_minimum_does_not(count):
    draw = random.Random(0)
    samples = [[draw.expovariate(1.0) for _ in range(count)] for _ in range(400)]
    held = [low <= math.log(2) <= high for _, low, high in map(median_interval, samples)]
    assert sum(held) / len(held) > 0.93
    # The minimum of an exponential is 0; no resample of a sample reaches below the least of it.
    assert not any(min(draw.choices(one, k=count)) <= 0 for one in samples)
