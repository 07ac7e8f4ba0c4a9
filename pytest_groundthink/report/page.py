"""What a report shows of one scorecard, as plain data: templates and Markdown only place it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_groundthink.checks import CheckBook
from pytest_groundthink.report import bands
from pytest_groundthink.report.statefulness import Condition, Statefulness, statefulness
from pytest_groundthink.report.words import WrongAnswer, shown_path, subject_facts, verdict_word, wrong_answers
from pytest_groundthink.scorecard import CheckResult, Decision, MeasurementRecord, Scorecard
from pytest_groundthink.verdict import Status, Style
from pytest_groundthink.vocabulary import KINDS

WRONG_SHOWN = 5
"""Wrong answers shown for a check; the scorecard has more."""

MEANING = {
    "GO": "what the scale requires was measured and met",
    "CAUTION": "nothing blocks it, but the evidence is thin",
    "HOLD": "do not scale this model up yet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A measured metric in words; `svg` is empty where no band judged it."""

    label: str
    value: str
    interval: str
    needs: str = ""
    svg: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView:
    """A check: its verdict, what was judged, what was recorded besides, and how it was measured."""

    id: str
    anchor: str
    title: str
    verdict: str
    css: str
    reason: str
    judged: tuple[Value, ...]
    recorded: tuple[Value, ...]
    profiles: tuple[tuple[str, str], ...]
    measures: str
    remedy: str
    source: str
    items: str
    duration: str
    wrong: tuple[WrongAnswer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The checks of one kind, with the question that they ask."""

    kind: str
    question: str
    checks: tuple[CheckView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything that the report of one scorecard says, but for pictures."""

    label: str
    headline: str
    meaning: str
    facts: tuple[str, ...]
    warnings: tuple[str, ...]
    counts: tuple[tuple[str, int], ...]
    decision: Decision | None
    groups: tuple[Group, ...]
    statefulness: Statefulness | None
    provenance: tuple[tuple[str, str], ...]
    kernels: tuple[tuple[str, str, str], ...]

    @property
    def checks(self) -> tuple[CheckView, ...]:
        """All checks, in order."""
        return tuple(check for group in self.groups for check in group.checks)


def page_of(card: Scorecard, book: CheckBook, conditions: tuple[Condition, ...], notes: Sequence[str] = ()) -> Page:
    """The page of a scorecard.

    Args:
        card: The scorecard.
        book: The checks that it is described by; a check that is not among them is shown without its description.
        conditions: The conditions of the statefulness report.
        notes: What a reader must know of the file that it was read from.
    """
    views = [(check.kind, _check(check, book)) for check in card.checks]
    kinds = [*KINDS, *sorted({kind for kind, _ in views} - KINDS.keys())]
    groups = [
        Group(kind=kind, question=KINDS.get(kind, ""), checks=tuple(view for other, view in views if other == kind))
        for kind in kinds
    ]
    outcome = card.decision.outcome if card.decision is not None else None
    return Page(
        label=card.subject.label,
        headline=outcome or "no decision",
        meaning=MEANING[outcome] if outcome else "not everything that its scale requires was part of the run",
        facts=tuple(subject_facts(card)),
        warnings=(*notes, *_warnings(card, book)),
        counts=tuple((status.value, card.summary.counts.get(status, 0)) for status in Status),
        decision=card.decision,
        groups=tuple(group for group in groups if group.checks),
        statefulness=statefulness(card, book, conditions),
        provenance=tuple(_provenance(card)),
        kernels=tuple(
            (op, str(found.get("backend", "none")), str(found.get("reason", "")))
            for op, found in sorted((card.subject.kernels or {}).items())
        ),
    )


def _check(check: CheckResult, book: CheckBook) -> CheckView:
    known = book.checks.get(check.id)
    styles = known.metrics if known is not None else {}
    judged_names = check.threshold.passes if check.threshold is not None else {}
    judged: list[Value] = []
    recorded: list[Value] = []
    for record in check.measurements:
        style = styles.get(record.name, Style(label=record.name.replace("_", " ")))
        (judged if record.name in judged_names else recorded).append(_value(record, check, style))
    word = verdict_word(check)
    return CheckView(
        id=check.id,
        anchor="check-" + "".join(char if char.isalnum() else "-" for char in check.id),
        title=check.title,
        verdict=word,
        css="na" if word == "n/a" else check.status.value.lower(),
        reason=check.reason,
        judged=tuple(judged),
        recorded=tuple(recorded),
        profiles=tuple((name, status.value) for name, status in sorted(check.profiles.items())),
        measures=known.measures if known is not None else "",
        remedy=known.remedy if known is not None and check.status is not Status.PASS and check.applicable else "",
        source=check.threshold.source if check.threshold is not None else "",
        items=", ".join(dict.fromkeys(f"{m.n:,}" for m in check.measurements if m.name in judged_names)),
        duration=_duration(check),
        wrong=tuple(wrong_answers(check)[:WRONG_SHOWN]) if check.status is not Status.PASS else (),
    )


def _value(record: MeasurementRecord, check: CheckResult, style: Style) -> Value:
    interval = ""
    if record.ci95 is not None:
        interval = f"95% {style.show(record.ci95[0])} to {style.show(record.ci95[1])}, n={record.n:,}"
    elif record.n > 1:
        interval = f"n={record.n:,}"
    shown = Value(
        label=style.label or record.name,
        value=f"{style.show(record.value)} {record.unit}".strip(),
        interval=interval,
        note=record.note,
    )
    if check.threshold is None or record.name not in check.threshold.passes:
        return shown
    passes, warn = check.threshold.passes[record.name], check.threshold.warn.get(record.name, ())
    return Value(
        label=shown.label,
        value=shown.value,
        interval=interval,
        note=record.note,
        needs=style.show_interval(passes),
        svg=bands.draw(record, passes, warn, style),
    )


def _duration(check: CheckResult) -> str:
    if check.cached:
        return "taken from an earlier run"
    return "" if check.duration_s is None else f"{check.duration_s:,.1f} s"


def _warnings(card: Scorecard, book: CheckBook) -> list[str]:
    """What a reader must know before the figures."""
    said = []
    if not card.summary.complete:
        said.append("The run was cut short: what is missing here was not measured.")
    if card.subject.sabotage:
        said.append(f"The model was broken on purpose ({card.subject.sabotage}), to see whether a check notices.")
    if card.provenance.git is not None and card.provenance.git.dirty:
        said.append("The checkout had changes that no commit holds: these figures cannot be had again from it.")
    if card.provenance.thresholds.sha256 != book.sha256:
        said.append(
            "The checks are described as this version knows them; the run was judged by another checks.yaml, whose "
            "bands are the ones that are drawn."
        )
    return said


def _flat(heading: str, section: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of everything in a section, those of the sections within it too."""
    rows: list[tuple[str, str]] = []
    for name, value in section.items():
        if isinstance(value, Mapping):
            rows += _flat(f"{heading}, {name}", value)
        elif value is not None:
            shown = shown_path(value) if name == "path" else f"{value:,}" if type(value) is int else str(value)
            rows.append((f"{heading}, {name}", shown))
    return rows


def _provenance(card: Scorecard) -> list[tuple[str, str]]:
    """Name and value of everything that says where the figures come from."""
    subject, source = card.subject, card.provenance
    rows = [("created", card.created), ("model", subject.model), ("scale", subject.scale or "none")]
    if subject.params:
        rows += [(f"parameters, {name.replace('_', '-')}", f"{count:,}") for name, count in subject.params.items()]
    for heading, section in (
        ("checkpoint", subject.checkpoint),
        ("tokenizer", subject.tokenizer),
        ("text", subject.corpus),
    ):
        rows += _flat(heading, section or {})
    rows += [("device", f"{subject.device or 'not loaded'}, {subject.dtype or ''}".strip(", "))]
    rows += [(name, str(value)) for name, value in source.environment.items() if value is not None]
    rows.append(("pytest-groundthink", source.version))
    if source.git is not None:
        rows.append(("commit", source.git.commit + (", with changes" if source.git.dirty else "")))
    rows += [
        ("thresholds", f"profile {source.thresholds.profile}, sha256 {source.thresholds.sha256}"),
        ("seed", str(source.seed)),
        ("command", shlex.join(shown_path(part) if part.startswith("/") else part for part in source.command_line)),
    ]
    return rows
