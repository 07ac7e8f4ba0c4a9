"""Canaries: conversations that carry facts, instructions and a persona from turn to turn."""

from __future__ import annotations

from gt import probes
from gt.subject import Subject
from pytest_groundthink import check
from pytest_groundthink.judge import Judge


@check("C1a")
def test_recalls_at_once(subject: Subject, judge: Judge) -> None:
    """A fact stated in one turn is recalled in the next."""
    judge(probes.canaries.measure(subject, "C1a"))


@check("C1b-lite")
def test_recalls_after_three_sentences(subject: Subject, judge: Judge) -> None:
    """A stated fact is recalled after three unrelated sentences."""
    judge(probes.canaries.measure(subject, "C1b-lite"))


@check("C1b")
def test_recalls_after_five_sentences(subject: Subject, judge: Judge) -> None:
    """A stated fact is recalled after five unrelated sentences."""
    judge(probes.canaries.measure(subject, "C1b"))


@check("C1c")
def test_recalls_after_ten_sentences(subject: Subject, judge: Judge) -> None:
    """A stated fact is recalled after ten unrelated sentences."""
    judge(probes.canaries.measure(subject, "C1c"))


@check("C4a")
def test_keeps_the_format(subject: Subject, judge: Judge) -> None:
    """Answers are bulleted turns after that was asked for."""
    judge(probes.canaries.measure(subject, "C4a"))


@check("C5a")
def test_takes_on_a_persona(subject: Subject, judge: Judge) -> None:
    """Answers are those of the persona that was described turns before."""
    judge(probes.canaries.measure(subject, "C5a"))
