"""Facts that the user states and asks for: at once, after fillers, one among several."""

from __future__ import annotations

from collections.abc import Callable

from gt.data.conversations.clauses import Fact, clause_facts
from gt.data.conversations.loose import loosened
from gt.data.conversations.nominals import nominal_facts
from gt.data.conversations.predicates import attribute_facts, predicate_facts, revised_fact
from gt.data.conversations.split import FUNCTION_WORDS, evaluation_split, words_of
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
        found += [one for one in map(allowed_part, drawn_facts(draw, form, count - len(found))) if one is not None]
    return found


def drawn_facts(draw: Draw, form: float, count: int) -> list[Fact]:
    """Facts of one of the grammars, by a number from 0 to 1; they may be too like those of the evaluation."""
    if form < 0.4:
        return clause_facts(draw, count)
    if form < 0.55:
        return nominal_facts(draw, count)
    return predicate_facts(draw, count) if form < 0.82 else attribute_facts(draw, count)


def allowed_part(fact: Fact) -> Fact | None:
    """The fact without questions like those of the evaluation; None if nothing is left of it."""
    split = evaluation_split()
    if split.is_like(fact.statement):
        return None
    questions = tuple(one for one in fact.questions if not split.is_like(one[0]))
    return fact._replace(questions=questions) if questions else None


def around(statement: str, value: str) -> tuple[str, str] | None:
    """What stands before and after a value; None if it does not stand there as whole words, once."""
    before, found, after = statement.partition(value)
    if not found or value in after or before[-1:].isalnum() or after[:1].isalnum():
        return None
    return before, after


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

_LOOSE = 0.45
"""Share of questions for the first answer of a fact to loosen; a third of them have nothing to loosen."""


def told_apart(told: list[Fact]) -> list[Fact]:
    """The facts with those of their questions that one of them alone can answer.

    Such a question has a word of its own statement that no other statement has, or at least two words that say what
    it is about. `Which room was it?` has none.
    """
    said = [set(words_of(one.statement)) - FUNCTION_WORDS for one in told]
    found = []
    for place, one in enumerate(told):
        others = set[str]().union(*(words for index, words in enumerate(said) if index != place))
        own = said[place] - others
        kept = tuple(pair for pair in one.questions if _is_telling(pair[0], own))
        found.append(one._replace(questions=kept))
    return found


def _is_telling(question: str, own: set[str]) -> bool:
    content = [word for word in words_of(question) if word not in FUNCTION_WORDS and word not in _EMPTY]
    return len(content) > 1 or not own.isdisjoint(content)


_EMPTY = frozenset("kind sort thing say said know tell mean meant talk talking mention remember remind again".split())


def several(draw: Draw) -> Example:
    """Two to four facts, in turns of their own, and questions for any of them."""
    talk = Talk(draw)
    told = told_apart(facts(draw, 2 + draw.below(3)))
    if not any(one.questions for one in told):
        return several(draw)
    for one in told:
        talk.tell(one)
        if draw.chance(0.2):
            talk.fill(1)
    for one in draw.sample([one for one in told if one.questions], 1 + draw.below(len(told))):
        for question, answer in one.questions[: 1 + draw.below(2)]:
            talk.ask(asked(draw, question), f"{answer}.")
    return talk.spans()


def beside(make: Callable[[Draw, int], list[Fact]]) -> Callable[[Draw], Example]:
    """A generator of conversations with a fact that `make` makes, up to two more beside it, and up to three fillers."""

    def generate(draw: Draw) -> Example:
        told = make(draw, draw.pick((1, 1, 1, 2, 2, 3)))
        askable = told if len(told) == 1 else _with_own_words(told)
        chosen = draw.sample([one for one in askable if one.questions], 1 + draw.below(2))
        if not chosen:
            return generate(draw)
        talk = Talk(draw)
        for one in told:
            talk.tell(one)
        talk.fill(draw.pick((0, 0, 0, 0, 1, 1, 2, 3)))
        for one in chosen:
            for question, answer in one.questions[: 1 + draw.below(2)]:
                talk.ask(asked(draw, question), f"{answer}.")
        return talk.spans()

    return generate


def _with_own_words(told: list[Fact]) -> list[Fact]:
    """The facts with those of their questions that have a word of that statement and of no other."""
    said = [set(words_of(one.statement)) - FUNCTION_WORDS for one in told]
    found = []
    for place, one in enumerate(told):
        own = said[place].difference(*(words for index, words in enumerate(said) if index != place))
        kept = tuple(pair for pair in one.questions if not own.isdisjoint(words_of(pair[0])))
        found.append(one._replace(questions=kept))
    return found
