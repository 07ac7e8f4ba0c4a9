"""Long texts: what more context is worth, and what of it is found again."""

from __future__ import annotations

from gt import probes
from gt.subject import Subject
from pytest_groundthink import check
from pytest_groundthink.judge import Judge


@check("LRD")
def test_more_context_helps(subject: Subject, judge: Judge) -> None:
    """The same tokens are better predicted the more context they have, and not spoiled by more than is claimed."""
    judge(probes.context.dependency(subject))


@check("LRD-1M")
def test_a_million_tokens_leave_no_harm(subject: Subject, judge: Judge) -> None:
    """After a million tokens of other text, the same tokens are predicted as from a fresh start."""
    judge(probes.context.long_stream(subject))
