"""The four rows of the decision matrix, each scored 0-3 from what a scorecard and its ladder hold. Pure."""

from __future__ import annotations

from pytest_groundthink.ladder import Ladder
from pytest_groundthink.rules import Category, ScaleRule
from pytest_groundthink.scaling import ScalingFit
from pytest_groundthink.scorecard import CheckResult, Scorecard
from pytest_groundthink.verdict import Status
from pytest_groundthink.vocabulary import CAPABILITIES

ARCHITECTURE, CANARIES = "architecture stability", "canary performance"
SCALING, RESOURCES = "scaling law fit", "resource prediction"

Scored = tuple[int | None, list[str]]
"""A score and what it rests on; None where the row cannot apply to the kind of model."""


def why_absent(card: Scorecard, category: Category) -> str:
    """Why a row cannot apply to this kind of model, as its scorecard has it; empty where it applies.

    Only a check that was asked for and found n/a because the kind has no other scales says so: one without data, that
    was not run, or that is n/a for another reason, as in scorecards of before, leaves nothing out.
    """
    result = card.check(category.applies_with)
    if result is None or result.applicable or "scales" in card.subject.capabilities:
        return ""
    return f"{result.id}: {result.reason}" if CAPABILITIES["scales"] in result.reason else ""


def architecture(card: Scorecard, category: Category) -> Scored:
    """Gates, states, and the training log."""
    results = {check.id: check for check in card.checks if check.applicable}
    log = results.get(category.log_check)
    failed = [id_ for id_, check in results.items() if id_ in category.fails and check.status is Status.FAIL]
    if log is not None and log.status is Status.FAIL:
        failed.append(log.id)
    if failed:
        return 0, [f"FAIL: {', '.join(failed)}"]
    judged = [id_ for id_, check in results.items() if id_ in category.fails and check.status is not Status.NODATA]
    if not judged:
        return 0, ["no gate or state check was measured"]
    warned = [id_ for id_ in judged if id_ in category.warns and results[id_].status is Status.WARN]
    score = 3 if not warned else 2 if len(warned) <= category.smooth_warns else 1
    evidence = [f"no FAIL in {len(judged)} checks", f"WARN: {', '.join(warned)}" if warned else "no WARN"]
    if log is None or log.status is Status.NODATA:
        return min(score, 1), [*evidence, f"the training log was not judged ({category.log_check}): at most 1"]
    if log.status is Status.WARN:
        return min(score, 1), [*evidence, f"spiky training ({category.log_check} WARN): at most 1"]
    return score, evidence


def canaries(card: Scorecard, rule: ScaleRule, category: Category) -> Scored:
    """Mean rate of the scale's own canaries."""
    applicable = [id_ for id_ in rule.canaries if (found := card.check(id_)) is None or found.applicable]
    if not applicable:
        return 0, ["no canary applies to this kind of model"]
    rates = {id_: rate_of(card.check(id_)) for id_ in applicable}
    missing = [id_ for id_, rate in rates.items() if rate is None]
    if missing:
        return 0, [f"no rate of {', '.join(missing)}"]
    known = [rate for rate in rates.values() if rate is not None]
    mean = sum(known) / len(known)
    low, middle, high = category.rates
    score = 0 if mean < low else 1 if mean < middle else 2 if mean <= high else 3
    return score, [f"mean of {', '.join(rates)}: {percent(mean)}"]


def scaling(card: Scorecard, ladder: Ladder, fit: ScalingFit | None, category: Category) -> Scored:
    """The power law over the ladder."""
    if (why := why_absent(card, category)) and not ladder.kin:
        return None, [f"left out: {why}"]
    if fit is None:
        if ladder.lacks:
            return 0, [f"the subject is no rung of a ladder: {ladder.lacks}"]
        left_out = [f"left out: {one}" for one in ladder.left_out]
        return 0, [f"one scale ({', '.join(sorted(ladder.scales))}) is no ladder", *left_out]
    evidence = [
        f"{len(fit.points)} runs at {fit.scales} scales",
        f"exponent {fit.exponent:.3g}" + (f" (95% {_range(fit.exponent_ci95)})" if fit.exponent_ci95 else ""),
    ]
    if fit.irreducible is not None:
        evidence.append(f"irreducible {fit.irreducible:.3g} nats")
    if fit.r2 is not None:
        evidence.append(f"R^2 {fit.r2:.3f}")
    if fit.held_out_error is not None:
        evidence.append(f"{fit.points[-1].scale} held out is mispredicted by {percent(fit.held_out_error)}")
    if (ahead := fit.predicted) is not None:
        within = f" (95% {_range(ahead.ci95)})" if ahead.ci95 else ""
        evidence.append(f"{ahead.scale} should reach {ahead.loss:.3f} nats{within}")
    evidence += [f"left out: {one}" for one in ladder.left_out]
    if not fit.exponent > 0:
        return 0, [*evidence, "more compute did not lower the loss"]
    if fit.scales < category.scales or fit.r2 is None or fit.held_out_error is None:
        return 1, [*evidence, f"fewer than {category.scales} scales show no more than a trend"]
    (clear, straight), (near, close) = category.r2, category.held_out
    if fit.r2 < clear:
        return 1, evidence  # where losses hardly differ, noise foretells the next one within 10% too
    if fit.r2 <= straight:
        return 2, evidence
    return (3 if fit.held_out_error < close else 2 if fit.held_out_error < near else 1), evidence


def resources(card: Scorecard, category: Category) -> Scored:
    """How far memory and step time of the next scale were mispredicted."""
    if why := why_absent(card, category):
        return None, [f"left out: {why}"]
    result = card.check(category.check)
    found = None if result is None else result.measured(category.metric)
    if result is None or found is None or found.value is None:
        why = f": {result.reason}" if result is not None and result.reason else ""
        return 0, [f"no memory or step time was predicted and measured ({category.check}){why}"]
    widest, middle, narrow = category.errors
    error = found.value
    score = 0 if error > widest else 1 if error > middle else 2 if error > narrow else 3
    within = f" (95% {'-'.join(percent(end) for end in found.ci95)})" if found.ci95 else ""
    return score, [f"off by {percent(error)}{within}" + (f": {found.note}" if found.note else "")]


def rate_of(result: CheckResult | None) -> float | None:
    """The rate that a check measured."""
    measured = result.measured("rate") if result is not None else None
    return None if measured is None else measured.value


def percent(rate: float) -> str:
    """A share as text."""
    return f"{rate * 100:.4g}%"


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.3g} to {ends[1]:.3g}"
