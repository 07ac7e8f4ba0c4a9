"""In what two scorecards differ beside what was measured: subject, text, thresholds, versions, machine. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from pytest_groundthink.scorecard import Scorecard

SHORT = 12
"""Characters of a hash that are shown."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing in which two scorecards differ; `means` says what follows, where it limits the comparison."""

    what: str
    before: str
    after: str
    means: str = ""


def differences(first: Scorecard, other: Scorecard) -> tuple[Difference, ...]:
    """What differs, that which limits a comparison before that which is compared."""
    rows = [
        *zip(_conditions(first), _conditions(other), strict=True),
        *zip(_subject(first), _subject(other), strict=True),
    ]
    return tuple(
        Difference(what=what, before=before, after=after, means=means)
        for (what, before, means), (_, after, _) in rows
        if before != after
    )


Row = tuple[str, str, str]
"""What, its value, and what follows where it differs."""


def _conditions(card: Scorecard) -> Iterator[Row]:
    """How it was measured."""
    origin, subject = card.provenance, card.subject
    yield "run", "complete" if card.summary.complete else "cut short", "checks are missing where it was cut short"
    profile, thresholds = origin.thresholds.profile, origin.thresholds.sha256
    yield "thresholds", f"{profile} {thresholds[:SHORT]}", "a status that changed is marked where its bands differ"
    yield "seed", str(origin.seed), "other items were drawn: nothing can be paired"
    yield "text", _named(subject.corpus, "name"), "values read from the text are those of other text"
    yield "tokenizer", _named(subject.tokenizer, "kind"), "losses for a token and lengths in tokens do not compare"
    yield "sabotage", subject.sabotage or "none", "one of them was broken on purpose"
    commit = f" at {origin.git.commit[:SHORT]}{' and changes' if origin.git.dirty else ''}" if origin.git else ""
    yield "version", origin.version + commit, "checks may have changed in what they measure"
    yield "device", f"{subject.device or 'unknown'} {subject.dtype or ''}".strip(), "rounding differs"
    yield "kernels", _kernels(subject.kernels), "rounding differs"
    environment = origin.environment
    yield "software", ", ".join(f"{name} {environment.get(name)}" for name in ("python", "torch", "numpy")), ""
    yield "machine", f"{environment.get('gpu') or environment.get('cpu')}, {environment.get('threads')} threads", ""


def _subject(card: Scorecard) -> Iterator[Row]:
    """What was measured."""
    subject = card.subject
    yield "model", f"{subject.model} {subject.scale or ''}".strip(), ""
    yield "parameters", f"{subject.params['total']:,}" if subject.params else "unknown", ""
    yield "checkpoint", _checkpoint(subject.checkpoint), ""


def _named(section: dict[str, Any] | None, name: str) -> str:
    return "unknown" if section is None else f"{section.get(name)} {str(section.get('sha256'))[:SHORT]}"


def _kernels(kernels: dict[str, dict[str, Any]] | None) -> str:
    return ", ".join(f"{op} {found.get('backend')}" for op, found in sorted((kernels or {}).items())) or "unknown"


def _checkpoint(checkpoint: dict[str, Any] | None) -> str:
    if checkpoint is None:
        return "none: fresh weights"
    step = checkpoint.get("step")
    return str(checkpoint.get("sha256"))[:SHORT] + (f" step {step:,}" if step is not None else "")
