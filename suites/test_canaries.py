"""Canaries: conversations that carry facts from turn to turn."""

from __future__ import annotations

from gt import probes
from gt.subject import Subject
from pytest_groundthink import check
from pytest_groundthink.judge import Judge


@check("C1a")
def test_recalls_at_once(subject: Subject, judge: Judge) -> None:
    """A fact stated in one turn is recalled in the next."""
    judge(probes.canaries.recall_at_once(subject))


@check("C1b-lite")
def test_recalls_after_three_sentences(subject: Subject, judge: Judge) -> None:
    """A stated fact is recalled after three unrelated sentences."""
    judge(probes.canaries.recall_after_three(subject))
