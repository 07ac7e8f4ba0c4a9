"""What a job of GitHub Actions shows beside its log: annotations, and the summary of the job.

Source: "Workflow commands for GitHub Actions" in GitHub's documentation, for the form and its escapes. A step shows ten
annotations of each kind, so what decides comes first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pytest_groundthink.checks import CheckBook
from pytest_groundthink.scorecard import CheckResult, Scorecard
from pytest_groundthink.verdict import Status

SUMMARY_BYTES = 1 << 20
"""A larger summary is refused as a whole."""

_LEVELS = {"GO": "notice", "CAUTION": "warning", "HOLD": "error"}


def running() -> bool:
    """Whether this is a job of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def summary_path() -> Path | None:
    """The file whose content becomes the summary of the job; None elsewhere."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    return Path(path) if path else None


def add_summary(markdown: str, path: Path) -> None:
    """Add to the summary of the job; what does not fit is left out, and said to be.

    Raises:
        OSError: If it cannot be written.
    """
    room = SUMMARY_BYTES - (path.stat().st_size if path.exists() else 0)
    content = markdown.encode()
    if len(content) > room:
        note = b"\n\nThe rest did not fit into a job summary: see the scorecard.\n"
        content = content[: max(room - len(note), 0)].decode(errors="ignore").encode() + note
    with path.open("ab") as file:
        file.write(content)


def commands(cards: Iterable[Scorecard], book: CheckBook) -> list[str]:
    """Workflow commands: the decision of each subject, then each check that FAILs, raised, or WARNs."""
    cards = list(cards)
    found = [
        annotation(
            _LEVELS[decision.outcome],
            f"{card.subject.label}: {decision.outcome}",
            "\n".join(decision.blockers or decision.reasons),
        )
        for card in cards
        if (decision := card.decision) is not None
    ]
    for card in cards:
        label = card.subject.label
        for check in card.checks:
            if (level := _level(check)) is not None:
                remedy = book.checks[check.id].remedy if check.id in book.checks else ""
                word = "raised" if check.error else check.status.value
                message = f"{check.reason}\n{remedy}" if remedy and not check.error else check.reason
                found.append(annotation(level, f"{label}: {check.id} {check.title} {word}", message))
    return found


def annotation(level: str, title: str, message: str) -> str:
    """One workflow command on one line, with everything escaped that would end or split it."""
    return f"::{level} title={_escaped(title, ':,')}::{_escaped(message)}"


def _escaped(text: str, further: str = "") -> str:
    """The text with the characters percent-encoded that a command must not hold."""
    for char in "%\r\n" + further:  # the percent sign first: it is in every escape
        text = text.replace(char, f"%{ord(char):02X}")
    return text


def _level(check: CheckResult) -> str | None:
    if check.error or check.status is Status.FAIL:
        return "error"
    return "warning" if check.status is Status.WARN else None
