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


@check("C1d")
def test_recalls_two_facts(subject: Subject, judge: Judge) -> None:
    """Two stated facts are recalled together after five unrelated sentences."""
    judge(probes.canaries.measure(subject, "C1d"))


@check("C2a")
def test_answers_from_three_facts(subject: Subject, judge: Judge) -> None:
    """Facts near the beginning, in the last quarter and at the end of 2,000 tokens are named together."""
    judge(probes.canaries.measure(subject, "C2a"))


@check("C2b")
def test_gathers_constraints(subject: Subject, judge: Judge) -> None:
    """All that is to be avoided is named, and nothing else."""
    judge(probes.canaries.measure(subject, "C2b"))


@check("C3a")
def test_recalls_a_preference(subject: Subject, judge: Judge) -> None:
    """The one of two things that is preferred is named four turns later."""
    judge(probes.canaries.measure(subject, "C3a"))


@check("C3b")
def test_resolves_a_reference(subject: Subject, judge: Judge) -> None:
    """What was meant by "it" or "that" is named, and not the other thing."""
    judge(probes.canaries.measure(subject, "C3b"))


@check("C3c")
def test_uses_the_correction(subject: Subject, judge: Judge) -> None:
    """A corrected fact is answered, not the first statement."""
    judge(probes.canaries.measure(subject, "C3c"))


@check("SPS")
def test_keeps_a_fact_for_fifty_turns(subject: Subject, judge: Judge) -> None:
    """Recall falls slowly with the turns between a fact and its question."""
    judge(probes.persistence.measure(subject))


@check("C4a")
def test_keeps_the_format(subject: Subject, judge: Judge) -> None:
    """Answers are bulleted turns after that was asked for."""
    judge(probes.canaries.measure(subject, "C4a"))


@check("C4b")
def test_keeps_a_formal_tone(subject: Subject, judge: Judge) -> None:
    """Answers are formal, at once and turns after that was asked for."""
    judge(probes.canaries.measure(subject, "C4b"))


@check("C4c")
def test_keeps_three_instructions(subject: Subject, judge: Judge) -> None:
    """Answers are formal, concise and technical, at once and turns after that was asked for."""
    judge(probes.canaries.measure(subject, "C4c"))


@check("C5a")
def test_takes_on_a_persona(subject: Subject, judge: Judge) -> None:
    """Answers are those of the persona that was described turns before."""
    judge(probes.canaries.measure(subject, "C5a"))


@check("C5b")
def test_stays_in_persona(subject: Subject, judge: Judge) -> None:
    """Every fact of the persona is answered rightly, over many turns."""
    judge(probes.canaries.measure(subject, "C5b"))


@check("C5c")
def test_does_not_revert(subject: Subject, judge: Judge) -> None:
    """The persona is kept although the user contradicts it."""
    judge(probes.canaries.measure(subject, "C5c"))


@check("C6a")
def test_keeps_conversations_apart(subject: Subject, judge: Judge) -> None:
    """A conversation inside another does not overwrite what was said before; in sessions of their own, not a bit."""
    judge(probes.canaries.measure(subject, "C6a"))


@check("C6b")
def test_keeps_users_apart(subject: Subject, judge: Judge) -> None:
    """Two users in one stream are each answered with what they themselves said."""
    judge(probes.canaries.measure(subject, "C6b"))
