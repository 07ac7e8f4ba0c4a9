"""What a scale requires and a scorecard does not show, each with the step that would change that. Pure."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping

import msgspec

from pytest_groundthink.categories import percent, rate_of
from pytest_groundthink.checks import Check, CheckBook
from pytest_groundthink.ladder import LOSS_CHECK, Ladder
from pytest_groundthink.rules import Improvement, LadderNeed, Outside, ScaleRule, Target
from pytest_groundthink.scaling import ScalingFit, held_out_error
from pytest_groundthink.scorecard import CheckResult, Scorecard
from pytest_groundthink.verdict import Status
from pytest_groundthink.vocabulary import CAPABILITIES


class Unmet(msgspec.Struct, frozen=True):
    """A requirement that is not met, and what would change that.

    Attributes:
        blocker: What is unmet.
        step: What to do.
        check: Id of the check that is to be run, where that is all there is to do.
    """

    blocker: str
    step: str = ""
    check: str = ""


def unmet(
    card: Scorecard,
    rule: ScaleRule,
    book: CheckBook,
    stop_rate: float,
    log_check: str,
    ladder: Ladder,
    fit: ScalingFit | None,
) -> list[Unmet]:
    """Everything that the scale requires and that is not shown.

    Args:
        card: What was measured and judged.
        rule: Requirements of the subject's scale.
        book: Titles and remedies, and which checks exist.
        stop_rate: A required canary below this rate stops.
        log_check: Check of the training log; where there is a log it is required at every scale, for not to look is no
            better than to find what is wrong.
        ladder: The runs that may be compared with the subject.
        fit: Their scaling law.
    """
    required = [*rule.required]
    if "training_log" in card.subject.capabilities and log_check not in required:
        required.append(log_check)
    by_check = {id_: found for id_ in required if (found := _check(id_, card, book, stop_rate))}
    lacking = [capability for capability in rule.capabilities if capability not in card.subject.capabilities]
    more = [
        *([_sabotaged(card.subject.sabotage)] if card.subject.sabotage else []),
        *(Unmet(f"the subject lacks {CAPABILITIES[one]}, which {rule.name} needs", f"give it {CAPABILITIES[one]}")
          for one in lacking),
        *(_target(target, card, by_check) for target in rule.targets),
        _improvement(rule.improvement, rule, ladder) if rule.improvement else None,
        _ladder(rule.ladder, ladder, fit) if rule.ladder else None,
        *(_outside(need, card, book) for need in rule.outside),
    ]  # fmt: skip
    return [*by_check.values(), *(one for one in more if one is not None)]


def steps_of(card: Scorecard, found: Iterable[Unmet], book: CheckBook) -> list[str]:
    """What to do about unmet requirements; checks that are only to be run, or that do not exist yet, are one step."""
    found = list(found)
    unrun = list(dict.fromkeys(one.check for one in found if one.check in book.checks))
    absent = list(dict.fromkeys(one.check for one in found if one.check and one.check not in book.checks))
    steps = [f"run {', '.join(unrun)}: {command(card)}"] if unrun else []
    steps += [one.step for one in found if one.step]
    if absent:
        steps.append(f"{', '.join(absent)}: wait for the version that has them, or define them with --gt-checks FILE")
    return list(dict.fromkeys(steps))


def command(card: Scorecard) -> str:
    """The command that judges the subject again."""
    path = (card.subject.checkpoint or {}).get("path")
    model = card.subject.label.partition("+")[0].partition("#")[0]
    parts = ["pytest", "-m", "graduation", "--model", model]
    return shlex.join([*parts, *(["--ckpt", str(path)] if path else []), "--scorecard", "out.json"])


def _sabotaged(fault: str) -> Unmet:
    return Unmet(f"the subject was broken on purpose ({fault})", "judge it without --gt-sabotage")


def _check(id_: str, card: Scorecard, book: CheckBook, stop_rate: float) -> Unmet | None:
    result = card.check(id_)
    if result is None:
        if id_ in book.checks:
            why = "was not part of this run (deselected or left out)"
            return Unmet(f"{id_} {book.checks[id_].title}: {why}", check=id_)
        return Unmet(f"{id_} {book.planned.get(id_, '')}: is not part of this version yet".replace(" :", ":"), "", id_)
    if not result.applicable:
        return None
    check = book.checks.get(id_)
    remedy = f" {check.remedy}" if check else ""
    if result.status is Status.NODATA:
        return Unmet(f"{id_} {result.title}: no data: {result.reason}", f"{id_}: give it data: {result.reason}")
    if result.status is Status.FAIL:
        step = _more_right(result, check, stop_rate) or f"{id_}:{remedy}"
        return Unmet(f"{id_} {result.title}: {result.reason}.{remedy}", step)
    if result.status is Status.WARN and check is not None and check.must_pass:
        return Unmet(f"{id_} {result.title}: must PASS, is WARN: {result.reason}.{remedy}", f"{id_}:{remedy}")
    rate = rate_of(result)
    if rate is not None and rate < stop_rate:
        return Unmet(
            f"{id_} {result.title}: stop: {percent(rate)} is below {percent(stop_rate)}",
            _more_right(result, check, stop_rate),
        )
    return None


def _more_right(result: CheckResult, check: Check | None, stop_rate: float) -> str:
    """How many more items must be right before a rate no longer FAILs; empty where it is not the rate that fails."""
    found = result.measured("rate")
    bands = [] if result.threshold is None else [*result.threshold.warn.get("rate", ())]
    if result.threshold is not None and "rate" in result.threshold.passes:
        bands.append(result.threshold.passes["rate"])
    lows = [low for low, _ in bands if low is not None]
    if found is None or found.value is None or not found.n:
        return ""
    needed = max(min(lows, default=0.0), stop_rate)
    missing = math.ceil(needed * found.n - 1e-9) - round(found.value * found.n)
    remedy = f". {check.remedy}" if check else ""
    return f"{result.id} needs {missing} more of {found.n} to reach {percent(needed)}{remedy}" if missing > 0 else ""


def _target(target: Target, card: Scorecard, blocked: Mapping[str, Unmet]) -> Unmet | None:
    """What a target lacks; nothing where each of its checks is a blocker already and says it all."""
    results = [(id_, card.check(id_)) for id_ in target.mean_of]
    named = [(id_, rate_of(result)) for id_, result in results if result is None or result.applicable]
    if not named or all(id_ in blocked for id_, _ in named):
        return None
    needed = f"target {target.name}: needs {percent(target.at_least)}"
    missing = [id_ for id_, rate in named if rate is None]
    if missing:
        return Unmet(f"{needed}, but there is no rate of {', '.join(missing)}")
    rates = [rate for _, rate in named if rate is not None]
    mean = sum(rates) / len(rates)
    if mean >= target.at_least:
        return None
    names = ", ".join(id_ for id_, _ in named)
    what = f"mean of {names}" if len(named) > 1 else names
    sizes = [found.n for _, result in results if result and result.applicable and (found := result.measured("rate"))]
    # With samples of unequal size it takes at least this many: those of the smallest weigh most.
    more = math.ceil((target.at_least - mean) * len(rates) * min(sizes) - 1e-9)
    return Unmet(
        f"{needed}, {what} is {percent(mean)}",
        f"{what} needs {more} more of {sum(sizes)} right to reach {percent(target.at_least)}",
    )


def _improvement(need: Improvement, rule: ScaleRule, ladder: Ladder) -> Unmet | None:
    words = f"{LOSS_CHECK} loss below that at {need.over} by {percent(need.share)} or {need.nats:g} nats"
    words += f" in {need.runs} runs"
    if ladder.lacks:
        return Unmet(
            f"{words}: the subject is no rung ({ladder.lacks})",
            ladder.remedy,
        )
    if ladder.stood_in_for:
        return Unmet(
            f"{words}: the runs at {need.over} were not trained on as many tokens as the subject",
            f"train {need.over} on as many tokens as the subject, or for each parameter, and give its scorecard "
            "with --gt-ladder",
        )
    below, own = ladder.at(need.over), ladder.at(rule.name)
    if not below:
        return Unmet(
            f"{words}: there is no scorecard at {need.over} to compare with",
            f"train and judge the same kind of model at {need.over} by the same recipe, and give its scorecard with "
            "--gt-ladder",
        )
    lowest = min(run.point.loss for run in below)
    limit = max(lowest * (1 - need.share), lowest - need.nats)
    # A seed again is the same run again; where none is recorded, other weights stand for another run.
    lower = {run.seed if run.seed is not None else run.weights for run in own if run.point.loss <= limit}
    if len(lower) >= need.runs:
        mine = ladder.runs[0].point.loss
        if mine <= limit:
            return None
        return Unmet(
            f"{words}: the subject's is {mine:.3f}, needed are {limit:.3f} nats ({lowest:.3f} at {need.over})",
            f"lower the subject's loss by {mine - limit:.3f} nats",
        )
    best = min(run.point.loss for run in own)
    told = (
        f"{words}: {len(lower)} of {len(own)} reach {limit:.3f} nats ({lowest:.3f} at {need.over}, lowest {best:.3f})"
    )
    if lower and len(own) < need.runs:
        return Unmet(told, f"train and judge {rule.name} with another seed, and give its scorecard with --gt-ladder")
    return Unmet(
        told, f"lower the loss at {rule.name} by {max(0.0, best - limit):.3f} nats in {need.runs} runs of other seeds"
    )


def _ladder(need: LadderNeed, ladder: Ladder, fit: ScalingFit | None) -> Unmet | None:
    words = f"a ladder of {need.scales} scales with R^2 above {need.r2:g} that predicts {need.predicts} within "
    words += percent(need.within)
    scales = len(ladder.scales)
    error = None if fit is None else held_out_error(fit.points, need.predicts)
    if fit is None or scales < need.scales or fit.r2 is None:
        return Unmet(f"{words}: there are {scales} scales")
    if error is None:
        return Unmet(
            f"{words}: there is no run at {need.predicts} with two smaller scales below it",
            f"add {need.predicts} and two scales below it to the ladder",
        )
    if fit.exponent <= 0 or fit.r2 <= need.r2 or error > need.within:
        return Unmet(f"{words}: R^2 is {fit.r2:.3f}, {need.predicts} is mispredicted by {percent(error)}")
    return None


def _outside(need: Outside, card: Scorecard, book: CheckBook) -> Unmet | None:
    result = card.check(need.check)
    if result is not None and result.status in (Status.PASS, Status.WARN):
        return None
    gate = card.check(need.when)
    if gate is not None and not gate.applicable:
        return None
    rate = None if gate is None else gate.measured("rate")
    accuracy = rate.detail.get("accuracy", {}).get(need.at) if rate else None
    where = f"where {need.when} exceeds {percent(need.above)} at {int(need.at):,} tokens"
    if not isinstance(accuracy, int | float):
        return Unmet(f"{need.check} is needed {where}, which was not measured", check=need.when)
    if accuracy <= need.above:
        return None
    if result is not None:
        return Unmet(
            f"{need.check}, needed {where}: {result.status}: {result.reason}", f"{need.check}: {result.reason}"
        )
    return Unmet(
        f"{need.check} is needed {where} (it is {percent(accuracy)}), and has no result",
        f"run {need.check} elsewhere and bring its result as a check of your own: describe {need.check} in a file for "
        f"--gt-checks and judge the result in a test marked @check({need.check!r})",
    )
