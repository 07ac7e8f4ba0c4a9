"""Conversations as spans: turns, statements with their surroundings, questions, replies and fillers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import msgspec

from gt.data.conversations.clauses import Fact, clause_facts
from gt.data.conversations.morphology import plural
from gt.data.conversations.nouns import person
from gt.data.conversations.split import evaluation_split
from gt.data.conversations.wordings import read_yaml
from gt.data.conversations.words import Draw


class Span(msgspec.Struct, frozen=True):
    """A stretch of a document: what the user says up to "Assistant:", or what the assistant replies.

    Attributes:
        text: The text; the spans of a document joined are what a reader sees.
        answer: Whether its tokens get the weight of an answer.
    """

    text: str
    answer: bool = False


Example = tuple[Span, ...]
"""One document. It ends with a line feed after the assistant's last line."""


class SmallTalk(msgspec.Struct, frozen=True):
    """What the user says and what the assistant replies."""

    text: str
    reply: str


class Phrases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `phrases.yaml`."""

    leads: tuple[str, ...]
    mains: tuple[str, ...]
    links: tuple[str, ...]
    around: tuple[str, ...]
    tails: tuple[str, ...]
    asks: tuple[str, ...]
    replies: tuple[str, ...]
    comments: tuple[str, ...]
    small_talk: tuple[SmallTalk, ...]


@cache
def phrases() -> Phrases:
    """The phrases around facts that no evaluation fixture uses."""
    found = read_yaml("phrases.yaml", Phrases)
    free = evaluation_split().free
    return msgspec.structs.replace(
        found,
        leads=free(found.leads),
        mains=free(found.mains),
        tails=free(found.tails),
        asks=free(found.asks),
        replies=free(found.replies),
        comments=free(found.comments),
        small_talk=tuple(talk for talk in found.small_talk if len(free((talk.text, talk.reply))) == 2),
    )


@cache
def filler_words() -> dict[str, tuple[str, ...]]:
    """Parts of fillers, from `fillers.yaml`, that no evaluation fixture uses."""
    table = read_yaml("fillers.yaml", dict[str, tuple[str, ...]])
    return {name: evaluation_split().free(parts) for name, parts in table.items()}


class Talk:
    """A conversation in the making.

    Args:
        draw: Where choices come from.
    """

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.shape: Callable[[list[str]], str] | None = None
        """How answers are laid out, where the user wants them otherwise than in a line."""
        self.shapes_all = False
        """Whether that holds for all that is said, and not for answers alone."""
        self.replies: tuple[str, ...] = ()
        """Replies of a tone, in place of the usual ones."""
        self._spans: list[Span] = []

    def say(self, text: str, reply: str) -> None:
        """A turn whose reply is no answer."""
        if self.replies:
            reply = self.draw.pick(self.replies)
        self._turn(text, Span(self._laid_out([reply]) if self.shapes_all else f" {reply}\n"))

    def ask(self, text: str, answer: str, before: str = "", after: str = "") -> None:
        """A turn whose reply is the answer to learn, perhaps with other words around it."""
        if not before and not after:
            self._turn(text, Span(f" {answer}\n", answer=True))
        elif before:
            self._turn(text, Span(f" {before.rstrip()}"), Span(f" {answer}{after}\n", answer=True))
        else:
            self._turn(text, Span(f" {answer}{after}\n", answer=True))

    def ask_all(self, text: str, values: list[str], line: str) -> None:
        """A turn whose reply names several things: laid out as the user wants, or in a line."""
        self._turn(text, Span(self._laid_out(values) if self.shape else f" {line}\n", answer=True))

    def _turn(self, text: str, *reply: Span) -> None:
        self._spans += (Span(f"User: {text}\nAssistant:"), *reply)

    def _laid_out(self, lines: list[str]) -> str:
        return f"{self.shape(lines)}\n" if self.shape else f" {lines[0]}\n"

    def tell(self, fact: Fact) -> None:
        """The user states a fact and the assistant takes note."""
        self.say(stated(self.draw, fact), reply(self.draw, fact.subject))

    def fill(self, count: int) -> None:
        """Turns that have nothing to do with the facts."""
        for _ in range(count):
            draw = self.draw
            form = draw.random()
            if form < 0.1:
                talk = draw.pick(phrases().small_talk)
                self.say(talk.text, talk.reply)
            elif form < 0.25:
                self.say(_aside(draw), reply(draw))
            else:
                self.say(filler(draw), reply(draw))

    def spans(self) -> Example:
        """The conversation so far."""
        return tuple(self._spans)


def sentence(text: str) -> str:
    """The text with a capital and a full stop (or the mark that it has)."""
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".?!" else f"{text}."


def _unlike_evaluation(make: Callable[[], str]) -> str:
    """The first text made that is unlike those of the evaluation."""
    while evaluation_split().is_like(text := make()):
        pass
    return text


def _aside(draw: Draw) -> str:
    return _unlike_evaluation(lambda: sentence(clause_facts(draw)[0].statement))


def stated(draw: Draw, fact: Fact) -> str:
    """A statement as the user says it: alone, or with something before or after it."""
    return _unlike_evaluation(lambda: _stated(draw, fact))


def _stated(draw: Draw, fact: Fact) -> str:
    form = draw.random()
    if form < 0.17:
        return _led(draw, fact)
    if form < 0.24:
        return _embedded(draw, fact)
    if form < 0.33:
        return plainly(draw, fact, draw.pick(phrases().tails))
    if form < 0.38:
        return " ".join((plainly(draw, fact), *(filler(draw) for _ in range(1 + draw.below(3)))))
    if form < 0.43:
        return f"{filler(draw)} {plainly(draw, fact)}"
    return plainly(draw, fact)


def plainly(draw: Draw, fact: Fact, tail: str = "") -> str:
    """A statement as a sentence with nothing before it, unless its first word is an answer in small letters.

    A capital would make the answer another word than the one that was said.
    """
    statement = fact.statement
    if any(answer[0].islower() and statement.startswith(answer) for _, answer in fact.questions):
        return _led(draw, fact)
    return sentence(f"{statement}{tail}")


def _embedded(draw: Draw, fact: Fact) -> str:
    """The statement as a part of a longer sentence."""
    found = phrases()
    if draw.random() < 0.5:
        return sentence(f"{draw.pick(found.mains)} {draw.pick(found.links)} {fact.statement}")
    other = person(draw).short
    return draw.pick(found.around).format(s=fact.statement, m=other, M=other[0].upper() + other[1:])


def _led(draw: Draw, fact: Fact) -> str:
    lead = draw.pick(phrases().leads)
    return f"{lead} {fact.statement}{'?' if lead.startswith(('Did', 'Have')) else '.'}"


def asked(draw: Draw, question: str) -> str:
    """A question as the user asks it."""
    return _unlike_evaluation(lambda: _asked(draw, question))


def _asked(draw: Draw, question: str) -> str:
    mark = "." if question.startswith(("tell me", "remind me", "I would")) else "?"
    if draw.random() < 0.15:
        lead = draw.pick(phrases().asks)
        return f"{lead} {question if lead[-1] in ':,' or lead == 'And' else question[0].upper() + question[1:]}{mark}"
    return f"{question[0].upper()}{question[1:]}{mark}"


def reply(draw: Draw, subject: str = "") -> str:
    """What the assistant says to a statement or a filler."""
    form = draw.random()
    if subject not in ("", "I", "we") and form < 0.16:
        other = subject
        for mine, yours in (("my ", "your "), ("our ", "your ")):
            if other.startswith(mine):
                other = yours + other[len(mine) :]
        return sentence(draw.pick(phrases().comments).format(other))
    if form < 0.2:
        return f"{draw.pick(phrases().replies)} {draw.pick(phrases().replies)}"
    return draw.pick(phrases().replies)


def filler(draw: Draw) -> str:
    """A sentence that states nothing that is asked: the caller's prose, or one of the grammar's."""
    form = draw.random()
    if draw.material.prose and form < 0.5:
        return draw.pick(draw.material.prose)
    words = filler_words()
    split = evaluation_split()
    while True:
        if form > 0.97:
            return draw.pick(words["general"])
        many = "plural" if draw.random() < 0.4 else "singular"
        subject = draw.pick(words[many])
        if draw.random() < 0.4:
            subject = draw.word(draw.pick(("places", "things", "vehicles", "plants", "rooms")))
            subject = f"the {draw.word('thing_adjectives')} {plural(subject) if many == 'plural' else subject}"
        text = f"{subject} {draw.pick(words[f'past_{many}'])}"
        ending = draw.random()
        if ending < 0.35:
            text = f"{text} {draw.pick(words['whens'])}"
        elif ending < 0.5:
            text = f"{draw.pick(words['whens'])}, {text}"
        elif ending < 0.7:
            text = f"{text}{draw.pick(words['whys'])}"
        if not split.is_like(text) and not split.has_value(subject):
            return sentence(text)
