"""Facts that the user states and asks for: at once, after fillers, one among several."""

from __future__ import annotations

from collections.abc import Callable

from gt.data.conversations.clauses import Fact, clause_fact
from gt.data.conversations.split import evaluation_split
from gt.data.conversations.talk import Example, Talk, asked
from gt.data.conversations.words import Draw


def fact(draw: Draw) -> Fact:
    """A fact unlike those of the evaluation."""
    split = evaluation_split()
    while True:
        found = clause_fact(draw)
        if found.questions and not split.is_like(found.statement):
            questions = tuple(one for one in found.questions if not split.is_like(one[0]))
            if questions:
                return found._replace(questions=questions)


def recall(least: int, most: int) -> Callable[[Draw], Example]:
    """A generator of conversations with one fact and `least` to `most` turns before it is asked for."""

    def generate(draw: Draw) -> Example:
        talk = Talk(draw)
        if draw.chance(0.15):
            talk.fill(1 + draw.below(2))
        one = fact(draw)
        talk.tell(one)
        talk.fill(least + draw.below(most - least + 1))
        for question, answer in one.questions[: 1 + draw.below(3)]:
            talk.ask(asked(draw, question), f"{answer}.")
        return talk.spans()

    return generate


def several(draw: Draw) -> Example:
    """Two to four facts, in turns of their own, and questions for any of them."""
    talk = Talk(draw)
    facts = [fact(draw) for _ in range(2 + draw.below(3))]
    for one in facts:
        talk.tell(one)
        if draw.chance(0.2):
            talk.fill(1)
    for one in draw.sample(facts, 1 + draw.below(len(facts))):
        for question, answer in one.questions[: 1 + draw.below(2)]:
            talk.ask(asked(draw, question), f"{answer}.")
    return talk.spans()
