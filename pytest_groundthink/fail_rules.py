"""Rules for `groundthink compare --fail-on`: which changes make its exit status 1. Pure.

    rule      = "status" | "significant" | "decision" | value
    value     = target comparison amount
    target    = CHECK | CHECK.METRIC | "rates"        C1a, D3.min_norm_share, the rate of every check that has one
    comparison = "<" | "<=" | ">" | ">="
    amount    = sign number ["%" | "pp"]              a change: relative, in percentage points, or in its own unit
              | number ["%"]                          the value itself

Several rules are separated by commas.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from pytest_groundthink.comparison import Against, CheckChange, Comparison, MetricChange
from pytest_groundthink.verdict import Status

WORDS = ("status", "significant", "decision")
RATE = "rate"
_COMPARISONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_RULE = re.compile(
    r"(?P<target>[^<>=]+?)\s*(?P<op><=|>=|<|>)\s*(?P<sign>[+-]?)(?P<number>\d*\.?\d+(?:[eE][+-]?\d+)?)\s*(?P<unit>%|pp|)"
)


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule.

    Attributes:
        text: As it was written.
        target: A word of `WORDS`, "rates", a check, or "CHECK.METRIC".
        comparison: One of `<`, `<=`, `>`, `>=`; empty for a word.
        amount: What the value or change is compared with, percent as a share.
        of: Whether that is the value itself, its change, or its relative change.
    """

    text: str
    target: str
    comparison: str = ""
    amount: float = 0.0
    of: Literal["value", "change", "relative"] = "value"

    def holds(self, before: float | None, after: float | None) -> str:
        """Why the rule is hit by two values; nothing if it is not. What cannot be told is a hit."""
        if after is None or (before is None and self.of != "value"):
            return f"there is no finite value {'now' if after is None else 'in the baseline'}"
        found = after
        if before is not None and self.of == "change":
            found = after - before
        elif before is not None and self.of == "relative":
            found = (after - before) / abs(before) if before else math.copysign(math.inf, after) if after else 0.0
        # In binary 0.85 - 0.9 is a little below -0.05.
        found = self.amount if math.isclose(found, self.amount, rel_tol=1e-9) else found
        hit = _COMPARISONS[self.comparison](found, self.amount)
        return f"it went from {_shown(before)} to {_shown(after)}" if hit else ""


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that was hit: where, and why."""

    rule: str
    where: str
    why: str


def parse_rules(texts: Sequence[str]) -> tuple[Rule, ...]:
    """Read rules.

    Raises:
        ValueError: If one is none: what was got and what is expected.
    """
    return tuple(_parse(text.strip()) for one in texts for text in one.split(","))


def _parse(text: str) -> Rule:
    if text in WORDS:
        return Rule(text=text, target=text)
    match = _RULE.fullmatch(text)
    if match is None or (match["unit"] == "pp" and not match["sign"]):
        raise ValueError(
            f"--fail-on {text!r}: expected {', '.join(WORDS)}, or a rule such as C1a<-5% (relative change), C1a<-5pp "
            "(points), L2.loss>+0.1 (absolute change), rates<-5pp (of any rate) or C1a<90% (the value itself)"
        )
    amount = float(match["number"]) / (100 if match["unit"] else 1)
    return Rule(
        text=text,
        target=match["target"].strip(),
        comparison=match["op"],
        amount=-amount if match["sign"] == "-" else amount,
        of="value" if not match["sign"] else "relative" if match["unit"] == "%" else "change",
    )


def hits(comparison: Comparison, rules: Sequence[Rule]) -> list[Hit]:
    """Which rules are hit, and by what.

    Raises:
        ValueError: If a rule names a check or a metric that none of the scorecards has, or a check with several judged
            metrics and none of them.
    """
    found = []
    for rule in rules:
        for other in comparison.others:
            for where, why in _hits(rule, comparison, other):
                subject = f"{where} of {other.side.name}" if len(comparison.others) > 1 else where
                found.append(Hit(rule=rule.text, where=subject, why=why))
    return found


def _hits(rule: Rule, comparison: Comparison, other: Against) -> Iterator[tuple[str, str]]:
    if rule.target == "decision":
        order = ("GO", "CAUTION", "HOLD")
        before, after = comparison.baseline.outcome, other.side.outcome
        if before is not None and (after is None or order.index(after) > order.index(before)):
            yield "the decision", f"it went from {before} to {after or 'none'}"
    elif rule.target == "status":
        for check in other.checks:
            if check.turn == "worse":
                yield check.id, f"it went from {check.before} to {check.after}"
    elif rule.target == "significant":
        for check in other.checks:
            for metric in check.metrics:
                if metric.turn == "worse" and metric.significant:
                    yield f"{check.id}.{metric.name}", f"it went from {_shown(metric.before)} to {_shown(metric.after)}"
    elif rule.target == "rates":
        for check in other.checks:
            for metric in check.metrics:
                if metric.name == RATE and (why := rule.holds(metric.before, metric.after)):
                    yield check.id, why
    else:
        yield from _named(rule, other)


def _named(rule: Rule, other: Against) -> Iterator[tuple[str, str]]:
    check = _check(rule, other)
    name = rule.target.removeprefix(check.id).removeprefix(".")
    if check.before is None or check.after is None or not check.metrics:
        missing = "the baseline" if check.before in (None, Status.NODATA) else other.side.name
        yield rule.target, f"{check.id} has no value in {missing}"
        return
    metrics = _metrics(rule, check, name)
    for metric in metrics:
        if why := rule.holds(metric.before, metric.after):
            yield rule.target, why


def _check(rule: Rule, other: Against) -> CheckChange:
    """The check that a rule names: the longest id that fits, since ids may have dots (G3.5)."""
    fitting = [check for check in other.checks if rule.target == check.id or rule.target.startswith(f"{check.id}.")]
    if not fitting:
        known = ", ".join(sorted(check.id for check in other.checks))
        raise ValueError(f"--fail-on {rule.text!r}: no scorecard has a check {rule.target!r}: there are {known}")
    return max(fitting, key=lambda check: len(check.id))


def _metrics(rule: Rule, check: CheckChange, name: str) -> list[MetricChange]:
    if not name:
        judged = list(dict.fromkeys(metric.name for metric in check.metrics if metric.judged))
        if RATE not in judged and len(judged) != 1:
            choice = ", ".join(f"{check.id}.{metric}" for metric in judged or (one.name for one in check.metrics))
            raise ValueError(
                f"--fail-on {rule.text!r}: {check.id} has no one value that is meant: name one of {choice}"
            )
        name = RATE if RATE in judged else judged[0]
    metrics = [metric for metric in check.metrics if metric.name == name]
    if not metrics:
        known = ", ".join(dict.fromkeys(metric.name for metric in check.metrics))
        raise ValueError(f"--fail-on {rule.text!r}: {check.id} has no metric {name!r}: there are {known}")
    return metrics


def _shown(value: float | None) -> str:
    return "no finite value" if value is None else f"{value:.4g}"
