"""Facts that the user states and asks for: at once, after fillers, one among several."""

from __future__ import annotations

from collections.abc import Callable

from gt.data.conversations.clauses import Fact, clause_facts
from gt.data.conversations.loose import loosened
from gt.data.conversations.nominals import nominal_facts
from gt.data.conversations.predicates import attribute_facts, predicate_facts, revised_fact
from gt.data.conversations.split import evaluation_split
from gt.data.conversations.talk import Example, Talk, asked
from gt.data.conversations.wordings import wordings
from gt.data.conversations.words import Draw


def facts(draw: Draw, count: int = 1) -> list[Fact]:
    """Facts unlike those of the evaluation; where there are more, often of the same kind about different people."""
    found: list[Fact] = []
    form = draw.random()
    alike = draw.random() < 0.5
    while len(found) < count:
        if not alike:
            form = draw.random()
        if form < 0.4:
            drawn = clause_facts(draw, count - len(found))
        elif form < 0.55:
            drawn = nominal_facts(draw, count - len(found))
        elif form < 0.82:
            drawn = predicate_facts(draw, count - len(found))
        else:
            drawn = attribute_facts(draw, count - len(found))
        found += [one for one in map(allowed_part, drawn) if one is not None]
    return found


def allowed_part(fact: Fact) -> Fact | None:
    """The fact without questions like those of the evaluation; None if nothing is left of it."""
    split = evaluation_split()
    if split.is_like(fact.statement):
        return None
    questions = tuple(one for one in fact.questions if not split.is_like(one[0]))
    return fact._replace(questions=questions) if questions else None


def revised(draw: Draw, about: str = "") -> tuple[Fact, Fact]:
    """A fact, and the same with another answer; about "I", "you" (the assistant) or anyone."""
    while True:
        first, second = map(allowed_part, revised_fact(draw, about_you=about == "you"))
        if first is not None and second is not None and about in ("", first.subject):
            return first, second


def recall(least: int, most: int) -> Callable[[Draw], Example]:
    """A generator of conversations with one fact and `least` to `most` turns before it is asked for."""

    def generate(draw: Draw) -> Example:
        talk = Talk(draw)
        if draw.chance(0.15):
            talk.fill(1 + draw.below(2))
        (one,) = facts(draw)
        talk.tell(one)
        talk.fill(least + draw.below(most - least + 1))
        for question, answer in one.questions[: 1 + draw.below(3)]:
            if draw.random() < _LOOSE and answer == one.questions[0][1]:
                question = loosened(draw, one, question)
            if draw.random() < _IN_FULL:
                text = f"{asked(draw, question)} {draw.pick(wordings()['in_full'])}"
                talk.ask(text, answer, before="The answer is", after=".")
            else:
                talk.ask(asked(draw, question), f"{answer}.")
        return talk.spans()

    return generate


_IN_FULL = 0.02
"""Share of questions that want a sentence for an answer."""

_LOOSE = 0.35
"""Share of questions for the first answer of a fact that have other words than the statement."""


def several(draw: Draw) -> Example:
    """Two to four facts, in turns of their own, and questions for any of them."""
    talk = Talk(draw)
    told = facts(draw, 2 + draw.below(3))
    for one in told:
        talk.tell(one)
        if draw.chance(0.2):
            talk.fill(1)
    for one in draw.sample(told, 1 + draw.below(len(told))):
        for question, answer in one.questions[: 1 + draw.below(2)]:
            talk.ask(asked(draw, question), f"{answer}.")
    return talk.spans()
