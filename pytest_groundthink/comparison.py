"""Scorecards side by side: how they were measured differently, what got worse, and whether chance explains it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from gt.stats import Z95, paired_rates
from pytest_groundthink.checks import Check
from pytest_groundthink.differences import Difference, differences
from pytest_groundthink.scorecard import CheckResult, MeasurementRecord, Scorecard
from pytest_groundthink.verdict import Interval, Status, Style

SCHEMA: Literal["groundthink.comparison/1"] = "groundthink.comparison/1"
LEVEL = 0.05
"""Below it an adjusted p-value counts as significant: of comparisons without any difference, 5% show one."""

READ_FROM_CORPUS = frozenset({"lrd", "niah"})
"""Kinds of checks whose items are cut from the corpus, by the subject's tokenizer."""

GRADED = frozenset({"learning", "lrd", "niah", "canary", "synthetic"})
"""Kinds of checks of which more is better. To gates, states and diagnostics a band is a limit, and no more."""

Turn = Literal["worse", "better", "same", "moved", "gone", "new"]
"""Of a check: what became of its status. Of a value: whether it went towards its PASS interval; "moved" is neither."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the scorecards. `name` is what it was called on the command line, `label` its subject's."""

    name: str
    label: str
    created: str
    outcome: str | None
    total: float | None
    categories: dict[str, int | None]


class Test(msgspec.Struct, frozen=True, kw_only=True):
    """Whether chance explains a change.

    Attributes:
        method: Name of the test; "unpaired intervals" where the items are not the same, or no outcomes were kept.
        ci95: 95% interval of the change.
        p_value: Two-sided.
        p_adjusted: By Holm's method, for all tests of the comparison.
        better: Items that turned right; None where the items are not paired.
        worse: Items that turned wrong.
        note: Why the items were not paired.
    """

    method: str
    ci95: tuple[float, float]
    p_value: float
    p_adjusted: float = 1.0
    better: int | None = None
    worse: int | None = None
    note: str = ""

    @property
    def significant(self) -> bool:
        """Whether the adjusted p-value is below `LEVEL`."""
        return self.p_adjusted < LEVEL


class MetricChange(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one measured value.

    `judged` if a band of the baseline judges it; `part` tells values of one name apart, e.g. by component.
    """

    name: str
    part: str = ""
    style: Style
    judged: bool
    before: float | None
    after: float | None
    turn: Turn
    test: Test | None = None

    @property
    def change(self) -> float | None:
        """The second less the first; None where one is missing or not finite."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def significant(self) -> bool:
        """Whether chance was tested and does not explain the change."""
        return self.test is not None and self.test.significant


class CheckChange(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one check; a status is None where the check was not part of the run or does not apply.

    `applied` and `applies` are false only where the scorecard says that it does not apply to the subject.
    """

    id: str
    title: str
    before: Status | None
    after: Status | None
    applied: bool = True
    applies: bool = True
    turn: Turn
    same_bands: bool
    metrics: tuple[MetricChange, ...]

    def significant(self, turn: Turn) -> bool:
        """Whether a judged value went that way and chance does not explain it."""
        return any(metric.turn == turn and metric.significant for metric in self.metrics)

    @property
    def regression(self) -> bool:
        """Whether its status got worse, or a judged value did and chance does not explain it."""
        return self.turn == "worse" or self.significant("worse")

    @property
    def improvement(self) -> bool:
        """Whether its status got better, or a judged value did, and nothing got worse."""
        return not self.regression and (self.turn == "better" or self.significant("better"))


class Against(msgspec.Struct, frozen=True, kw_only=True):
    """One scorecard against the baseline. `checks` begin with the regressions, then come the improvements."""

    side: Side
    differences: tuple[Difference, ...]
    checks: tuple[CheckChange, ...]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A baseline and the scorecards compared with it. `tests` were made, and all p-values adjusted for that many."""

    schema: Literal["groundthink.comparison/1"] = SCHEMA
    baseline: Side
    others: tuple[Against, ...]
    tests: int
    level: float = LEVEL
    adjusted_by: str = "Holm"


def compare(cards: Sequence[tuple[str, Scorecard]], described: Mapping[str, Check]) -> Comparison:
    """Compare scorecards with the first of them.

    Values that a band judges are tested in the checks of `GRADED` kinds, each against the baseline: rates item by item
    where both scorecards have the outcomes of the same items, everything else by its intervals. Others are not tested,
    so that they cost these nothing.

    Args:
        cards: Scorecards with their names; the first is the baseline.
        described: Checks by id, for labels; those that are missing are shown by their metrics' names.

    Raises:
        ValueError: If there are fewer than two.
    """
    if len(cards) < 2:
        raise ValueError(f"got {len(cards)} scorecard, expected at least two: the first is what others are held to")
    (name, first), *rest = cards
    others = [_against(first, other_name, other, described) for other_name, other in rest]
    tests = [test for other in others for test in _tests(other)]
    adjusted = iter(holm([test.p_value for test in tests]))
    return Comparison(
        baseline=_side(name, first), others=tuple(_adjusted(other, adjusted) for other in others), tests=len(tests)
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: those below a level are significant together, with that level for any false alarm at all.

    Source:
        Holm 1979, Scand. J. Statist. 6:65.
    """
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def unpaired(
    before: float, before_ci95: tuple[float, float], after: float, after_ci95: tuple[float, float]
) -> tuple[tuple[float, float], float]:
    """95% interval of a difference of independent estimates from the interval of each, and its two-sided p-value.

    The p-value is below 0.05 where the interval leaves out 0, and only there.

    Source:
        Interval: Newcombe 1998, Stat. Med. 17:873, method 10; for any two estimates Zou and Donner 2008, Stat. Med.
        27:1693. P-value from an interval: Altman and Bland 2011, BMJ 343:d2304.
    """
    change = after - before
    low = change - math.hypot(after - after_ci95[0], before_ci95[1] - before)
    high = change + math.hypot(after_ci95[1] - after, before - before_ci95[0])
    reach = change - low if change > 0 else high - change
    if not reach:
        return (low, high), 1.0 if change == 0 else 0.0
    return (low, high), math.erfc(Z95 * abs(change) / reach / math.sqrt(2))


def _side(name: str, card: Scorecard) -> Side:
    decision = card.decision
    return Side(
        name=name,
        label=card.subject.label,
        created=card.created,
        outcome=decision.outcome if decision else None,
        total=decision.total if decision else None,
        categories={key: category.score for key, category in decision.categories.items()} if decision else {},
    )


def _against(first: Scorecard, name: str, other: Scorecard, described: Mapping[str, Check]) -> Against:
    ids = list(dict.fromkeys(check.id for card in (first, other) for check in card.checks))
    changes = [_check_change(id_, first, other, described) for id_ in ids]
    return Against(side=_side(name, other), differences=differences(first, other), checks=tuple(changes))


def _check_change(id_: str, first: Scorecard, other: Scorecard, described: Mapping[str, Check]) -> CheckChange:
    a, b = first.check(id_), other.check(id_)
    before, after = (result.status if result and result.applicable else None for result in (a, b))
    metrics: list[MetricChange] = []
    if a is not None and b is not None:
        style = described[id_].style if id_ in described else lambda metric: Style(label=metric)
        note = _why_unpaired(a, first, other)
        passes = a.threshold.passes if a.threshold else {}
        for part, one, matching in _matched(a.measurements, b.measurements):
            change = _metric_change(one, matching, style(one.name), passes.get(one.name))
            test = _test(one, matching, note) if change.judged and a.kind in GRADED else None
            metrics.append(msgspec.structs.replace(change, part=part, test=test))
    known = a or b
    return CheckChange(
        id=id_,
        title=known.title if known else "",
        before=before,
        after=after,
        applied=a is None or a.applicable,
        applies=b is None or b.applicable,
        turn=_turn(before, after),
        same_bands=a is None or b is None or a.threshold is None or b.threshold is None or a.threshold == b.threshold,
        metrics=tuple(metrics),
    )


def _matched(
    first: Sequence[MeasurementRecord], other: Sequence[MeasurementRecord]
) -> Iterator[tuple[str, MeasurementRecord, MeasurementRecord]]:
    """Measurements of the same quantity, with the part of the model that tells several of one name apart.

    That part stands at the start of the note. Where the parts are not the same ones, the order decides.
    """
    for name in dict.fromkeys(one.name for one in first):
        mine, yours = ([one for one in measurements if one.name == name] for measurements in (first, other))
        parts, theirs = ([one.note.partition(";")[0] for one in found] for found in (mine, yours))
        if len(mine) > 1 and len(set(parts)) == len(parts) and set(parts) == set(theirs):
            yield from ((part, one, yours[theirs.index(part)]) for part, one in zip(parts, mine, strict=True))
        else:
            yield from (("", one, matching) for one, matching in zip(mine, yours, strict=False))


def _turn(before: Status | None, after: Status | None) -> Turn:
    """What was measured and is no longer is worse, whatever it was: nobody knows what it would be now."""
    if before is None or after is None:
        return "same" if before is after else "new" if before is None else "gone"
    if before is after:
        return "same"
    order = (Status.PASS, Status.WARN, Status.FAIL)
    if Status.NODATA in (before, after):
        return "worse" if after in (Status.NODATA, Status.FAIL) else "better"
    return "worse" if order.index(after) > order.index(before) else "better"


def _metric_change(a: MeasurementRecord, b: MeasurementRecord, style: Style, passes: Interval | None) -> MetricChange:
    turn: Turn = "same"
    if a.value != b.value:
        band = None if style.better == "neither" else passes
        turn = "moved" if band is None else _towards(a.value, b.value, (None, 0.0) if style.better == "lower" else band)
    return MetricChange(name=a.name, style=style, judged=passes is not None, before=a.value, after=b.value, turn=turn)


def _towards(before: float | None, after: float | None, passes: Interval) -> Turn:
    """Whether a judged value went up or down its band. An interval that begins at 0 is that of an error."""
    if before is None or after is None:
        return "same" if before is after else "worse" if after is None else "better"
    low, high = passes
    if low is not None and high is not None and (low != 0 or high == 0):
        outside = [max(low - value, value - high, 0.0) for value in (before, after)]
        return "moved" if outside[0] == outside[1] else "worse" if outside[1] > outside[0] else "better"
    if low is None and high is None:
        return "moved"
    return "better" if (after > before) == (high is None) else "worse"


def _why_unpaired(check: CheckResult, first: Scorecard, other: Scorecard) -> str:
    """Why the items of a check are not the same; nothing if they are."""
    if first.provenance.seed != other.provenance.seed:
        return "other seeds draw other items"
    if check.kind in READ_FROM_CORPUS:
        texts, tokenizers = ([_hash(one) for one in pair] for pair in _sources(first, other))
        if texts[0] != texts[1] or tokenizers[0] != tokenizers[1]:
            return "its items are cut from another text"
    return ""


def _sources(first: Scorecard, other: Scorecard) -> tuple[list[dict[str, Any] | None], list[dict[str, Any] | None]]:
    return [first.subject.corpus, other.subject.corpus], [first.subject.tokenizer, other.subject.tokenizer]


def _hash(section: dict[str, Any] | None) -> str | None:
    return None if section is None else section.get("sha256")


def _test(a: MeasurementRecord, b: MeasurementRecord, why_unpaired: str) -> Test | None:
    """The test that the two measurements allow; None where there is no estimate of chance."""
    if a.value is None or b.value is None:
        return None
    if a.outcomes and b.outcomes and not why_unpaired:
        sizes = [{name: len(own) for name, own in one.outcomes.items()} for one in (a, b)]
        if sizes[0] == sizes[1]:
            found = paired_rates(a.outcomes, b.outcomes, seed=0)
            return Test(
                method=found.judged_by,
                ci95=found.ci95,
                p_value=found.p_value,
                better=found.better,
                worse=found.worse,
            )
        why_unpaired = "they have other templates, or another number of items"
    if a.ci95 is None or b.ci95 is None:
        return None
    ci95, p_value = unpaired(a.value, a.ci95, b.value, b.ci95)
    note = why_unpaired or "the outcomes of the items were not kept"
    return Test(method="unpaired intervals", ci95=ci95, p_value=p_value, note=note)


def _tests(other: Against) -> Iterator[Test]:
    return (metric.test for check in other.checks for metric in check.metrics if metric.test is not None)


def _adjusted(other: Against, p_values: Iterator[float]) -> Against:
    """The same with the adjusted p-values, which come in the order of `_tests`, and sorted by what they decide."""

    def adjust(metric: MetricChange) -> MetricChange:
        if metric.test is None:
            return metric
        test = msgspec.structs.replace(metric.test, p_adjusted=next(p_values))
        return msgspec.structs.replace(metric, test=test)

    checks = [
        msgspec.structs.replace(check, metrics=tuple(adjust(metric) for metric in check.metrics))
        for check in other.checks
    ]
    return msgspec.structs.replace(other, checks=tuple(sorted(checks, key=_rank)))


def _rank(change: CheckChange) -> tuple[int, int]:
    group = 0 if change.turn == "worse" else 1 if change.regression else 2 if change.improvement else 3
    severity = {Status.FAIL: 0, Status.NODATA: 1, Status.WARN: 2}
    return group, severity[change.after] if group == 0 and change.after in severity else 0
