"""The statefulness report: what is known of the recurrent states, condition by condition and component by component.

Source: [S] "Create Statefulness Report" and "Success criteria for 30M scaling"; [F] observation 15.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pytest_groundthink.checks import CheckBook
from pytest_groundthink.located import LocatedFile
from pytest_groundthink.report.words import verdict_word
from pytest_groundthink.scorecard import CheckResult, MeasurementRecord, Scorecard
from pytest_groundthink.verdict import Status

COMPONENTS = {"rwkv": "RWKV", "mamba": "Mamba"}
"""Names of the components in measurements, and what a reader calls them."""


class Condition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A condition of `statefulness.yaml`: what must be known, and the checks that say it."""

    title: str
    checks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionRow:
    """A condition and what its checks came to.

    Attributes:
        answer: "met", "met with warnings", "not met", "not measured" or "does not apply".
        css: The status that it is coloured as.
        checks: Id, verdict and verdict under the documents' own thresholds ("" where these have none) of each check.
    """

    title: str
    answer: str
    css: str
    checks: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentRow:
    """A quantity that was measured for components apart, with its value in each."""

    check: str
    label: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statefulness:
    """The report. `components` are the names of the columns of `rows`, in order."""

    conditions: tuple[ConditionRow, ...]
    components: tuple[str, ...]
    rows: tuple[ComponentRow, ...]


def load_conditions(path: Path) -> tuple[Condition, ...]:
    """Read the conditions of the statefulness report.

    Raises:
        FixtureError: If the file cannot be used: one line with file, line and key.
    """
    file = LocatedFile(path)
    return file.convert(("conditions",), file.section(()).get("conditions"), tuple[Condition, ...])


def statefulness(card: Scorecard, book: CheckBook, conditions: tuple[Condition, ...]) -> Statefulness | None:
    """What a scorecard says of the states; None if it asked nothing about them."""
    rows = tuple(row for condition in conditions if (row := _condition(card, condition)) is not None)
    if not rows:
        return None
    named = {id_ for condition in conditions for id_ in condition.checks}
    asked = [check for check in card.checks if check.id in named or check.kind in ("state", "diagnostic")]
    figures = [figure for check in asked for figure in _figures(check, book)]
    present = [name for name in COMPONENTS if any(name in values for _, _, values in figures)]
    return Statefulness(
        conditions=rows,
        components=tuple(COMPONENTS[name] for name in present),
        rows=tuple(
            ComponentRow(check=id_, label=label, values=tuple(values.get(name, "-") for name in present))
            for id_, label, values in figures
        ),
    )


def _condition(card: Scorecard, condition: Condition) -> ConditionRow | None:
    found = [check for id_ in condition.checks if (check := card.check(id_)) is not None]
    if not found:
        return None
    judged = [check.status for check in found if check.applicable]
    if not judged:
        answer, css = "does not apply", "na"
    elif Status.FAIL in judged:
        answer, css = "not met", "fail"
    elif set(judged) == {Status.NODATA}:
        answer, css = "not measured", "nodata"
    elif Status.WARN in judged or Status.NODATA in judged:
        answer, css = ("met with warnings", "warn") if Status.WARN in judged else ("met as far as measured", "warn")
    else:
        answer, css = "met", "pass"
    told = tuple((check.id, verdict_word(check), str(check.profiles.get("v4", ""))) for check in found)
    return ConditionRow(title=condition.title, answer=answer, css=css, checks=told)


def _figures(check: CheckResult, book: CheckBook) -> list[tuple[str, str, dict[str, str]]]:
    """What a check measured of each component: its id, label, and value by component.

    It may lie in a measurement's detail, in a metric for each component that ends in its name, or in a metric that is
    measured once for each component and names it in its note.
    """
    in_detail: dict[str, dict[str, str]] = {}
    apart: dict[str, dict[str, str]] = {}
    for record in check.measurements:
        label = _label(check, record, book)
        for name, word in COMPONENTS.items():
            if record.name.endswith(f"_{name}"):
                apart.setdefault(re.sub(rf" *{word}('s)?", "", label), {})[name] = _shown(record.value)
            elif record.note.partition("; ")[0] == name and not record.detail:
                apart.setdefault(label, {})[name] = _shown(record.value)
        for key, values in (("", record.detail), *record.detail.items()):
            if isinstance(values, dict) and values and values.keys() <= COMPONENTS.keys():
                heading = f"{check.title}: {key.replace('_', ' ')}" if key else _without_choice(label)
                in_detail.setdefault(heading, {name: _shown(value) for name, value in values.items()})
    once = {label: values for label, values in apart.items() if len(values) > 1}
    return [(check.id, label, values) for label, values in {**in_detail, **once}.items()]


def _label(check: CheckResult, record: MeasurementRecord, book: CheckBook) -> str:
    known = book.checks.get(check.id)
    return (known.style(record.name).label if known is not None else "") or record.name


def _without_choice(label: str) -> str:
    """The label of a metric that is the smaller or larger of the components, or their ratio, for the values of each."""
    return re.sub(r", (smaller|larger)$| RWKV / Mamba$", "", label)


def _shown(value: object) -> str:
    """A number, the mean of several, or the first and last of a series by position."""
    if isinstance(value, list) and value and all(isinstance(number, int | float) for number in value):
        return f"{_shown(sum(value) / len(value))} (mean of {len(value)})"
    if isinstance(value, dict):
        ends = [f"{_shown(number)} at {position}" for position, number in value.items()]
        return ", ".join(dict.fromkeys((ends[0], ends[-1]))) if ends else "-"
    if not isinstance(value, int | float):
        return "not finite"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"
