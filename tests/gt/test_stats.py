import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gt.stats import cluster_bootstrap, mean_interval, mean_stderr, resampled_means, wilson

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
