"""What every report says in the same words: of a subject, of a verdict, of an answer."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pytest_groundthink.scorecard import CheckResult, Scorecard


class WrongAnswer(msgspec.Struct, frozen=True):
    """One of the answers that a measurement's `detail` keeps under `wrong`."""

    said: str
    asked: str
    expected: list[str]
    got: str
    why: str


def subject_facts(card: Scorecard) -> list[str]:
    """Size, checkpoint, device and profile of a scorecard, a few words each."""
    subject = card.subject
    facts = []
    if subject.params:
        facts.append(f"{subject.params.get('total', 0):,} parameters")
    if subject.checkpoint:
        step = subject.checkpoint.get("step")
        facts.append(f"checkpoint {shown_path(subject.checkpoint.get('path'))}" + (f" (step {step:,})" if step else ""))
    else:
        facts.append("no checkpoint: fresh weights")
    facts += [str(part) for part in (subject.device, subject.dtype) if part]
    if subject.sabotage:
        facts.append(f"sabotaged: {subject.sabotage}")
    return [*facts, f"profile {card.provenance.thresholds.profile}"]


def shown_path(path: object) -> str:
    """A path, from the current folder where it lies below it."""
    given = Path(str(path))
    return str(given.relative_to(Path.cwd()) if given.is_relative_to(Path.cwd()) else given)


def verdict_word(check: CheckResult) -> str:
    """PASS, WARN, FAIL, NODATA; "n/a" where this kind of model is not asked, "NODATA!" where the check raised."""
    if not check.applicable:
        return "n/a"
    return "NODATA!" if check.error else check.status.value


def wrong_answers(check: CheckResult) -> list[WrongAnswer]:
    """The wrong answers that a check kept; none where a user's own check keeps something else under that name."""
    for measurement in check.measurements:
        try:
            answers = msgspec.convert(measurement.detail.get("wrong"), list[WrongAnswer])
        except msgspec.ValidationError:
            continue
        if answers:
            return answers
    return []
