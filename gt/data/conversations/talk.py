"""Conversations as spans: turns, statements with their surroundings, questions, replies and fillers."""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec

from gt.data.conversations.clauses import Fact, clause_facts
from gt.data.conversations.split import evaluation_split
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
    tails: tuple[str, ...]
    asks: tuple[str, ...]
    replies: tuple[str, ...]
    comments: tuple[str, ...]
    small_talk: tuple[SmallTalk, ...]


class FillerWords(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `fillers.yaml`."""

    singular: tuple[str, ...]
    plural: tuple[str, ...]
    past: tuple[str, ...]
    past_plural: tuple[str, ...]
    whens: tuple[str, ...]
    whys: tuple[str, ...]
    general: tuple[str, ...]


@cache
def phrases() -> Phrases:
    """The phrases around facts that no evaluation fixture uses."""
    text = resources.files("gt.data.conversations").joinpath("phrases.yaml").read_bytes()
    found = msgspec.yaml.decode(text, type=Phrases)
    split = evaluation_split()
    return msgspec.structs.replace(
        found,
        replies=tuple(reply for reply in found.replies if not split.is_like(reply)),
        small_talk=tuple(
            talk for talk in found.small_talk if not split.is_like(talk.text) and not split.is_like(talk.reply)
        ),
    )


@cache
def filler_words() -> FillerWords:
    """Parts of fillers."""
    text = resources.files("gt.data.conversations").joinpath("fillers.yaml").read_bytes()
    return msgspec.yaml.decode(text, type=FillerWords)


class Talk:
    """A conversation in the making.

    Args:
        draw: Where choices come from.
    """

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self._spans: list[Span] = []

    def say(self, text: str, reply: str) -> None:
        """A turn whose reply is no answer."""
        self._spans.append(Span(f"User: {text}\nAssistant:"))
        self._spans.append(Span(f" {reply}\n"))

    def ask(self, text: str, answer: str) -> None:
        """A turn whose reply is the answer to learn."""
        self._spans.append(Span(f"User: {text}\nAssistant:"))
        self._spans.append(Span(f" {answer}\n", answer=True))

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
                (aside,) = clause_facts(draw)
                self.say(sentence(aside.statement), reply(draw))
            else:
                self.say(filler(draw), reply(draw))

    def spans(self) -> Example:
        """The conversation so far."""
        return tuple(self._spans)


def sentence(text: str) -> str:
    """The text with a capital and a full stop (or the mark that it has)."""
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".?!" else f"{text}."


def stated(draw: Draw, fact: Fact) -> str:
    """A statement as the user says it: alone, or with something before or after it."""
    statement = fact.statement
    form = draw.random()
    # A capital at the start of a sentence would make the answer another word than the one that was said.
    small = any(answer[0].islower() and statement.startswith(answer) for _, answer in fact.questions)
    if form < 0.22 or small:
        lead = draw.pick(phrases().leads)
        end = "?" if lead.startswith(("Did", "Have")) else "."
        return f"{lead} {statement}{end}"
    if form < 0.32:
        return sentence(f"{statement}{draw.pick(phrases().tails)}")
    if form < 0.36:
        return f"{sentence(statement)} {filler(draw)}"
    if form < 0.4:
        return f"{filler(draw)} {sentence(statement)}"
    return sentence(statement)


def asked(draw: Draw, question: str) -> str:
    """A question as the user asks it."""
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
    if draw.prose and form < 0.5:
        return draw.pick(draw.prose)
    words = filler_words()
    split = evaluation_split()
    while True:
        if form > 0.97:
            return draw.pick(words.general)
        many = draw.random() < 0.4
        subject = draw.pick(words.plural if many else words.singular)
        text = f"{subject} {draw.pick(words.past_plural if many else words.past)}"
        ending = draw.random()
        if ending < 0.35:
            text = f"{text} {draw.pick(words.whens)}"
        elif ending < 0.5:
            text = f"{draw.pick(words.whens)}, {text}"
        elif ending < 0.7:
            text = f"{text}{draw.pick(words.whys)}"
        if not split.is_like(text):
            return sentence(text)
