"""From a scorecard to GO, CAUTION or HOLD. Pure; every number comes from `scales.yaml` and `decision.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pytest_groundthink.checks import CheckBook
from pytest_groundthink.rules import Category, Matrix, ScaleRule, Target
from pytest_groundthink.scorecard import CategoryScore, CheckResult, Decision, Scorecard
from pytest_groundthink.verdict import Status
from pytest_groundthink.vocabulary import CAPABILITIES

Outcome = Literal["GO", "CAUTION", "HOLD"]
Scored = tuple[int, list[str]]


def decide(card: Scorecard, rule: ScaleRule, matrix: Matrix, book: CheckBook) -> Decision:
    """Weigh a scorecard against what its scale requires.

    What was not measured scores nothing and holds the decision where it is required: no default makes a GO.

    Args:
        card: What was measured and judged.
        rule: Requirements of the subject's scale.
        matrix: Weights, levels and limits.
        book: Titles and remedies, and which checks exist.
    """
    scored: dict[str, Scored] = {
        "architecture stability": _architecture(card, matrix.categories["architecture stability"]),
        "canary performance": _canaries(card, rule, matrix.categories["canary performance"]),
        "scaling law fit": (0, ["no ladder of scorecards at several scales was given"]),
        "resource prediction": (0, ["no memory or step time was predicted for the next scale"]),
    }
    categories = {
        name: CategoryScore(score=score, weight=matrix.categories[name].weight, evidence=tuple(evidence))
        for name, (score, evidence) in scored.items()
    }
    blockers = _blockers(card, rule, book, matrix.stop_rate)
    outcome, total = conclude(categories, bool(blockers), matrix)
    return Decision(
        outcome=outcome,
        from_scale=rule.name,
        to_scale=rule.next,
        total=total,
        categories=categories,
        blockers=tuple(blockers),
        reasons=tuple(_reasons(card, rule, matrix, categories, blockers, total)),
    )


def conclude(categories: Mapping[str, CategoryScore], blocked: bool, matrix: Matrix) -> tuple[Outcome, float]:
    """The decision rule: outcome and weighted total.

    Args:
        categories: The scored rows of the matrix.
        blocked: Whether a requirement of the scale is unmet.
        matrix: The limits of GO and CAUTION.
    """
    total = sum(category.score * category.weight for category in categories.values())
    if blocked or total < matrix.caution or any(category.score == 0 for category in categories.values()):
        return "HOLD", total
    return ("GO" if total >= matrix.go else "CAUTION"), total


def _architecture(card: Scorecard, category: Category) -> Scored:
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


def _canaries(card: Scorecard, rule: ScaleRule, category: Category) -> Scored:
    applicable = [id_ for id_ in rule.canaries if (found := card.check(id_)) is None or found.applicable]
    if not applicable:
        return 0, ["no canary applies to this kind of model"]
    rates = {id_: _rate(card.check(id_)) for id_ in applicable}
    missing = [id_ for id_, rate in rates.items() if rate is None]
    if missing:
        return 0, [f"no rate of {', '.join(missing)}"]
    known = [rate for rate in rates.values() if rate is not None]
    mean = sum(known) / len(known)
    low, middle, high = category.rates
    score = 0 if mean < low else 1 if mean < middle else 2 if mean <= high else 3
    return score, [f"mean of {', '.join(rates)}: {_percent(mean)}"]


def _blockers(card: Scorecard, rule: ScaleRule, book: CheckBook, stop_rate: float) -> list[str]:
    blocked: dict[str, str] = {}
    for id_ in rule.required:
        reason = _blocker(id_, card.check(id_), book)
        rate = _rate(card.check(id_))
        if not reason and rate is not None and rate < stop_rate:
            reason = f"{id_} {book.checks[id_].title}: stop: {_percent(rate)} is below {_percent(stop_rate)}"
        if reason:
            blocked[id_] = reason
    lacking = [capability for capability in rule.capabilities if capability not in card.subject.capabilities]
    return [
        *blocked.values(),
        *(f"the subject lacks {CAPABILITIES[capability]}, which {rule.name} needs" for capability in lacking),
        *filter(None, (_unmet(target, card, blocked) for target in rule.targets)),
        *(f"not measured by this version yet: {condition}" for condition in rule.conditions),
    ]


def _blocker(id_: str, result: CheckResult | None, book: CheckBook) -> str:
    if result is None:
        if id_ in book.checks:
            return f"{id_} {book.checks[id_].title}: was not part of this run (deselected or left out)"
        return f"{id_} {book.planned.get(id_, '')}: is not part of this version yet".replace(" :", ":")
    check = book.checks[id_]
    if not result.applicable:
        return ""
    if result.status is Status.NODATA:
        return f"{id_} {check.title}: no data: {result.reason}"
    if result.status is Status.FAIL:
        return f"{id_} {check.title}: {result.reason}. {check.remedy}"
    if result.status is Status.WARN and check.must_pass:
        return f"{id_} {check.title}: must PASS, is WARN: {result.reason}. {check.remedy}"
    return ""


def _unmet(target: Target, card: Scorecard, blocked: Mapping[str, str]) -> str:
    """What a target lacks; nothing where each of its checks is a blocker already and says it all."""
    results = [(id_, card.check(id_)) for id_ in target.mean_of]
    named = [(id_, _rate(result)) for id_, result in results if result is None or result.applicable]
    if not named or all(id_ in blocked for id_, _ in named):
        return ""
    needed = f"target {target.name}: needs {_percent(target.at_least)}"
    missing = [id_ for id_, rate in named if rate is None]
    if missing:
        return f"{needed}, but there is no rate of {', '.join(missing)}"
    rates = [rate for _, rate in named if rate is not None]
    mean = sum(rates) / len(rates)
    return (
        ""
        if mean >= target.at_least
        else f"{needed}, {'mean of ' if len(named) > 1 else ''}"
        + (f"{', '.join(id_ for id_, _ in named)} is {_percent(mean)}")
    )


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
        reasons.append(f"{len(blockers)} of the requirements of {rule.name} are unmet")
    for id_ in rule.canaries:
        rate = _rate(card.check(id_))
        if rate is not None and rate < matrix.stop_rate:
            reasons.append(f"stop: {id_} is at {_percent(rate)}, below {_percent(matrix.stop_rate)}")
    for name, category in categories.items():
        if category.score == 0:
            levels = matrix.categories[name].levels
            reasons.append(f"{name} is 0 ({'; '.join(category.evidence)}); 1 needs: {levels[1]}")
    if total < matrix.caution:
        reasons.append(f"the total of {total:g} is below {matrix.caution:g}")
    elif total < matrix.go:
        weakest = min(categories, key=lambda name: categories[name].score)
        reasons.append(f"the total of {total:g} is below {matrix.go:g}: review {weakest} first")
    if not reasons:
        reasons.append(f"every requirement of {rule.name} is met and the total of {total:g} reaches {matrix.go:g}")
    return reasons


def _rate(result: CheckResult | None) -> float | None:
    measured = result.measured("rate") if result is not None else None
    return None if measured is None else measured.value


def _percent(rate: float) -> str:
    return f"{rate * 100:.4g}%"
