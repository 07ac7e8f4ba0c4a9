"""From a scorecard to GO, CAUTION or HOLD. Pure; every number comes from `scales.yaml` and `decision.yaml`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from gt.resources import fixtures_dir
from pytest_groundthink import categories as rows
from pytest_groundthink.categories import ARCHITECTURE, CANARIES, RESOURCES, SCALING, percent, rate_of
from pytest_groundthink.checks import CheckBook
from pytest_groundthink.ladder import Ladder, build_ladder, fit_ladder, short_name
from pytest_groundthink.requirements import steps_of, unmet
from pytest_groundthink.rules import Matrix, ScaleRule
from pytest_groundthink.scaling import ScalingFit
from pytest_groundthink.scorecard import CategoryScore, Decision, Scorecard
from pytest_groundthink.vocabulary import CAPABILITIES

Outcome = Literal["GO", "CAUTION", "HOLD"]
BEST = 3


def decide(
    card: Scorecard,
    rule: ScaleRule,
    matrix: Matrix,
    book: CheckBook,
    others: Sequence[Scorecard] = (),
    name: Callable[[Scorecard], str] = short_name,
) -> Decision:
    """Weigh a scorecard against what its scale requires.

    What was not measured scores nothing and holds the decision where it is required: no default makes a GO. Only a
    category that cannot apply to the kind of model is left out; the others must then be good each by itself, and the
    reasons say so.

    Args:
        card: What was measured and judged.
        rule: Requirements of the subject's scale.
        matrix: Weights, levels and limits.
        book: Titles and remedies, and which checks exist.
        others: Scorecards of other scales and of other runs of the same recipe.
        name: How the notes call these.
    """
    weights = matrix.categories
    ladder = build_ladder(card, others, weights[SCALING].tokens_within, name)
    fit = fit_ladder(card, ladder, rule)
    scored: dict[str, rows.Scored] = {
        ARCHITECTURE: rows.architecture(card, weights[ARCHITECTURE]),
        CANARIES: rows.canaries(card, rule, weights[CANARIES]),
        SCALING: rows.scaling(card, ladder, fit, weights[SCALING]),
        RESOURCES: rows.resources(card, weights[RESOURCES]),
    }
    categories = {
        name: CategoryScore(score=score, weight=weights[name].weight, evidence=tuple(evidence))
        for name, (score, evidence) in scored.items()
    }
    if categories[SCALING].score is None:  # no scale of its kind can be required to lie on a line with others
        rule = msgspec.structs.replace(rule, improvement=None, ladder=None)
    found = unmet(card, rule, book, matrix.stop_rate, weights[ARCHITECTURE].log_check, ladder, fit)
    outcome, total = conclude(categories, bool(found), matrix)
    if outcome == "GO" and card.subject.withheld:
        outcome = "CAUTION"
    blockers = [one.blocker for one in found]
    steps = [
        *steps_of(card, found, book),
        *(_ladder_steps(card, ladder, fit, matrix) if categories[SCALING].score is not None else ()),
        *_level_steps(categories, matrix, total),
        *([f"register it with {_named(card.subject.withheld)} too"] if card.subject.withheld else ()),
    ]
    return Decision(
        outcome=outcome,
        from_scale=rule.name,
        to_scale=rule.next,
        total=total,
        categories=categories,
        blockers=tuple(blockers),
        reasons=tuple(_reasons(card, rule, matrix, categories, blockers, total)),
        next_steps=() if outcome == "GO" else tuple(dict.fromkeys(steps)),
        notes=(*_own_thresholds(card), *ladder.notes),
        scaling=fit,
    )


def _own_thresholds(card: Scorecard) -> list[str]:
    """That other thresholds than the shipped ones judged, if so: its GO is not everyone's."""
    used = card.provenance.thresholds
    if used.sha256 != hashlib.sha256((fixtures_dir() / "checks.yaml").read_bytes()).hexdigest():
        return [f"its checks were judged by other thresholds than the shipped ones (profile {used.profile})"]
    return [] if used.profile == "default" else [f"profile {used.profile} judged it, not default"]


def conclude(categories: Mapping[str, CategoryScore], blocked: bool, matrix: Matrix) -> tuple[Outcome, float]:
    """The decision rule: outcome and weighted total.

    Categories that cannot apply are left out: the sum of the others is scaled up to all weights, so that the limits
    mean the same share of what can be reached. A GO then needs `alone` of each of the others, so that what was not
    measured of one (a training log) is not made up for by another.

    Args:
        categories: The scored rows of the matrix.
        blocked: Whether a requirement of the scale is unmet.
        matrix: The limits of GO and CAUTION.
    """
    weighed = [(row.score, row.weight) for row in categories.values() if row.score is not None]
    share = sum(weight for _, weight in weighed) / sum(row.weight for row in categories.values())
    total = sum(score * weight for score, weight in weighed) / share if share else 0.0
    if blocked or total < matrix.caution or any(score == 0 for score, _ in weighed):
        return "HOLD", total
    return ("GO" if total >= matrix.go and not _too_low(categories, matrix) else "CAUTION"), total


def _too_low(categories: Mapping[str, CategoryScore], matrix: Matrix) -> list[str]:
    """The categories that keep the total from being a GO where others are left out."""
    if all(row.score is not None for row in categories.values()):
        return []
    return [name for name, row in categories.items() if row.score is not None and row.score < matrix.alone]


def _named(capabilities: Sequence[str]) -> str:
    return " and ".join(CAPABILITIES[one] for one in capabilities)


def _reasons(
    card: Scorecard,
    rule: ScaleRule,
    matrix: Matrix,
    categories: Mapping[str, CategoryScore],
    blockers: list[str],
    total: float,
) -> list[str]:
    reasons = []
    if blockers:
        count = len(blockers)
        reasons.append(f"{count} of the requirements of {rule.name} {'is' if count == 1 else 'are'} unmet")
    for id_ in rule.canaries:
        rate = rate_of(card.check(id_))
        if rate is not None and rate < matrix.stop_rate:
            reasons.append(f"stop: {id_} is at {percent(rate)}, below {percent(matrix.stop_rate)}")
    for name, category in categories.items():
        if category.score == 0:
            levels = matrix.categories[name].levels
            reasons.append(f"{name} is 0 ({'; '.join(category.evidence)}); 1 needs: {levels[1]}")
    if total < matrix.caution:
        reasons.append(f"the total of {total:g} is below {matrix.caution:g}")
    elif total < matrix.go:
        weakest = min(categories, key=lambda name: BEST if (score := categories[name].score) is None else score)
        reasons.append(f"the total of {total:g} is below {matrix.go:g}: review {weakest} first")
    if low := [name for name in _too_low(categories, matrix) if categories[name].score]:
        told = " and ".join(f"{name} is {categories[name].score}" for name in low)
        reasons.append(f"{told}: where a category is left out, GO needs {matrix.alone} of each of the others")
    if card.subject.withheld:
        reasons.append(
            f"its forward offers {_named(card.subject.withheld)}, which its registration leaves out: no check looked "
            "at that, and the outcome is CAUTION at best"
        )
    if not reasons:
        reasons.append(f"every requirement of {rule.name} is met and the total of {total:g} reaches {matrix.go:g}")
    absent = [name for name, category in categories.items() if category.score is None]
    if absent:
        reached, possible = (
            sum(row.weight * of(row.score) for row in categories.values() if row.score is not None)
            for of in (int, lambda _: BEST)
        )
        reasons.append(
            f"{' and '.join(absent)} cannot apply to this kind of model: {reached:g} of the {possible:g} that the "
            f"others can reach stand for a total of {total:g}"
        )
    return reasons


def _ladder_steps(card: Scorecard, ladder: Ladder, fit: ScalingFit | None, matrix: Matrix) -> list[str]:
    """Which scales to measure until a ladder shows more than a trend."""
    if ladder.lacks:
        return [f"scaling law: the subject is no rung ({ladder.lacks}): {ladder.remedy}"]
    own = ladder.runs[0].point
    missing = matrix.categories[SCALING].scales - len(ladder.scales)
    if missing > 0:
        ahead = _unmeasured(own.scale, ladder.scales)[:missing]
        tokens = (
            f"{own.tokens / own.params:.0f} tokens for each parameter"
            if ladder.proportional
            else f"{own.tokens:,} tokens"
        )
        kind = card.subject.label.partition("@")[0]
        named = f" ({', '.join(ahead)})" if ahead else ""
        first = f", for example groundthink train --model {kind}@{ahead[0]}" if ahead else ""
        word = "scale" if missing == 1 else "scales"
        return [
            f"scaling law: measure {missing} more {word}{named} on the same text and tokenizer with {tokens}{first}; "
            "judge each and give its scorecard with --gt-ladder"
        ]
    if fit is not None and fit.r2 is not None and fit.r2 <= matrix.categories[SCALING].r2[-1]:
        return [f"scaling law: R^2 is {fit.r2:.3f}: add scales or seeds, and look at runs far from the line first"]
    return []


def _unmeasured(scale: str, measured: set[str]) -> list[str]:
    """Scales below this one without a run, the nearest first."""
    from gt.registry import scales

    known = scales()
    below = known[: known.index(scale)] if scale in known else []
    return [name for name in reversed(below) if name not in measured]


def _level_steps(categories: Mapping[str, CategoryScore], matrix: Matrix, total: float) -> list[str]:
    """What the categories lack until their sum is a GO."""
    steps = []
    weights = sum(row.weight for row in categories.values())
    weighed = sum(row.weight for row in categories.values() if row.score is not None)
    for name, category in categories.items():
        if category.score is None or category.score == BEST:
            continue
        if category.score == 0 or total < matrix.go or name in _too_low(categories, matrix):
            level, gain = matrix.categories[name].levels[category.score + 1], category.weight * weights / weighed
            steps.append(f"{name} is {category.score}; {category.score + 1} (+{gain:g}) needs: {level}")
    short = matrix.go - total
    if short > 0:
        steps.append(f"the total is {total:g}: GO needs {short:g} more")
    return steps
