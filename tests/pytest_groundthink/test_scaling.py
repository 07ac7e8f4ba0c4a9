"""The scaling law recovers laws that are known, and says how sure it is."""

from __future__ import annotations

import math
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_groundthink.scaling import LadderPoint, fit_law, fit_scaling, held_out_error

COMPUTES = (3e14, 6e14, 1.2e15, 2.4e15, 5e15, 1e16)


def points(losses: list[float], computes: tuple[float, ...] = COMPUTES) -> list[LadderPoint]:
    return [
        LadderPoint(label=f"m{i}", scale=f"s{i}", params=1, tokens=1, compute=compute, loss=loss)
        for i, (loss, compute) in enumerate(zip(losses, computes, strict=False))
    ]


def power(
    exponent: float, irreducible: float = 0.0, at_first: float = 4.0, noise: float = 0.0, seed: int = 0
) -> list[float]:
    draw = random.Random(seed)
    return [irreducible + at_first * (c / COMPUTES[0]) ** -exponent * math.exp(draw.gauss(0, noise)) for c in COMPUTES]


@given(st.floats(0.02, 0.5), st.floats(1, 10), st.integers(2, 6))
def test_a_power_law_is_recovered(exponent: float, at_first: float, count: int) -> None:
    fit = fit_scaling(points(power(exponent, at_first=at_first))[:count], ("next", 1e17))
    assert fit is not None
    assert fit.predicted is not None
    assert fit.exponent == pytest.approx(exponent, rel=1e-3)
    assert fit.predicted.loss == pytest.approx(at_first * (1e17 / COMPUTES[0]) ** -exponent, rel=1e-3)
    if count > 2:
        assert fit.r2 == pytest.approx(1.0)
        assert fit.held_out_error == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("irreducible", [1.0, 2.0])
def test_an_irreducible_loss_is_found_from_five_scales_on(irreducible: float) -> None:
    losses = power(0.4, irreducible, at_first=2.0)
    fit = fit_scaling(points(losses))
    assert fit is not None
    assert fit.irreducible == pytest.approx(irreducible, rel=0.02)
    assert fit.exponent == pytest.approx(0.4, rel=0.03)
    few = fit_scaling(points(losses)[:4])
    assert few is not None
    assert few.irreducible is None, "four points do not allow it"


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    held = foretold = 0
    truth = 4.0 * (1e17 / COMPUTES[0]) ** -0.1
    for seed in range(60):
        fit = fit_scaling(points(power(0.1, noise=0.01, seed=seed))[:4], ("next", 1e17))
        assert fit is not None
        assert fit.exponent_ci95 is not None
        assert fit.predicted is not None
        assert fit.predicted.ci95 is not None
        held += fit.exponent_ci95[0] <= 0.1 <= fit.exponent_ci95[1]
        foretold += fit.predicted.ci95[0] <= truth <= fit.predicted.ci95[1]
    # Four residuals, two degrees of freedom: resampling them is known to be too narrow, but it must not be blind.
    assert held >= 42
    assert foretold >= 42


def test_the_largest_scale_is_predicted_from_the_others_alone() -> None:
    losses = power(0.1)
    off = [*losses[:-1], losses[-1] * 1.2]
    fit = fit_scaling(points(off))
    assert fit is not None
    assert fit.held_out_error == pytest.approx(1 - 1 / 1.2, rel=0.02)
    assert [point.held_out for point in fit.points] == [False] * 5 + [True]
    assert held_out_error(points(off), "s3") == pytest.approx(0.0, abs=1e-6), "what lies above does not count"
    assert held_out_error(points(off), "s1") is None
    assert held_out_error(points(off), "none") is None


def test_too_little_says_so() -> None:
    assert fit_scaling([]) is None
    assert fit_scaling(points([4.0])) is None
    two = fit_scaling(points([4.0, 3.5]), ("next", 1e17))
    assert two is not None
    assert (two.r2, two.held_out_error, two.exponent_ci95) == (None, None, None)
    assert two.predicted is not None
    assert two.predicted.ci95 is None


def test_a_loss_that_does_not_fall_has_no_positive_exponent() -> None:
    for losses in ([3.0, 3.1, 3.2, 3.3], [3.0] * 4, [3.0] * 6):
        fit = fit_scaling(points(losses))
        assert fit is not None
        assert fit.exponent <= 0
        assert fit.r2 is not None


def test_seeds_of_one_scale_are_runs_and_not_scales() -> None:
    same = [LadderPoint(label=f"m{i}", scale="s", params=1, tokens=1, compute=1e15, loss=3 + i / 10) for i in range(5)]
    assert fit_scaling(same) is None
    with_another = fit_scaling([*same, *points([2.0])])
    assert with_another is not None
    assert with_another.scales == 2
    assert with_another.irreducible is None


@given(st.lists(st.floats(0.01, 20), min_size=2, max_size=6))
def test_any_losses_have_a_finite_fit(losses: list[float]) -> None:
    law = fit_law(points(losses))
    assert all(map(math.isfinite, (law.exponent, law.log_coefficient, law.loss(1e17))))
    assert 0 <= law.irreducible < min(losses)


def test_it_is_quick() -> None:
    begun = time.process_time()
    fit_scaling(points(power(0.1, 2.0, noise=0.01)), ("next", 1e17))
    assert time.process_time() - begun < 1.0
