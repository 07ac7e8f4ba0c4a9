"""Facts whose question has other words than their statement: jobs, names, homes, likings, attributes of all sorts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple

from gt.data.conversations.clauses import Fact, somebody_who
from gt.data.conversations.morphology import article, plural, third_person
from gt.data.conversations.nouns import AMOUNTS, KINDS, PLURAL, SINGULAR, YOU, Noun, noun, person, speaker, whose
from gt.data.conversations.split import evaluation_split
from gt.data.conversations.wordings import read_yaml
from gt.data.conversations.words import Draw, people

_AGREEING = {
    "be": ("am", "are", "is"), "was": ("was", "were", "was"), "have": ("have", "have", "has"),
    "do": ("do", "do", "does"),
}  # fmt: skip
_PART = re.compile(r"\{([^}]+)\}")

_STATED = (
    "{s's} {A} is {v}", "{s's} {A} is {v}", "{s's} {A} is {v}", "{v} is {s's} {A}", "{s} {have} {v} as {my} {A}",
    "as for {s's} {A}, it is {v}", "for {s's} {A}, remember {v}", "if anyone asks for {s's} {A}, say {v}",
    "{s's} {A} has always been {v}", "{s's} {A} was changed to {v}", "{s} gave {v} as {my} {A}",
    "it is {v} that is {s's} {A}", "they wrote down {v} as {s's} {A}", "{s's} {A} must be {v}",
    "when it comes to {s's} {A}, the answer is {v}", "{s's} {A} used to be a secret, but it is {v}",
    "what {s} gave as {my} {A} was {v}", "{s's} {A} will be {v}", "the {A} that {s} {have} is {v}",
)  # fmt: skip
_QUESTIONED = (
    "what is {s's} {A}", "what is {s's} {A}", "what is {s's} {A}", "which {A} {do} {s} have", "what {A} {do} {s} have",
    "do you know {s's} {A}", "can you tell me {s's} {A}", "tell me {s's} {A}", "what was {s's} {A} again",
    "could you remind me of {s's} {A}", "what did {s} give as {my} {A}", "what would {s's} {A} be", "and {s's} {A}",
    "what did I say about {s's} {A}", "what do you know about {s's} {A}",
)  # fmt: skip
_ASKED_BY_KIND = {
    "name": ("who is {s's} {A}", "who is {s's} {A}", "what is the name of {s's} {A}", "what is {s's} {A} called"),
    "date": ("when is {s's} {A}", "on what day is {s's} {A}"),
    "time": ("when is {s's} {A}", "at what time is {s's} {A}"),
    "weekday": ("when is {s's} {A}", "which day is {s's} {A}"),
    "price": ("how much is {s's} {A}", "how high is {s's} {A}"),
    "period": ("how long is {s's} {A}",),
    "city": ("where is {s's} {A}",),
    "street": ("where is {s's} {A}",),
}
_STATED_OF_THINGS = (
    "the {A} of {s} is {v}",
    "the {A} of {s} is {v}",
    "{v} is the {A} of {s}",
    "{s} has {v} as its {A}",
)
_ASKED_OF_THINGS = ("what is the {A} of {s}", "what is the {A} of {s}", "which {A} does {s} have")


class Predicate(NamedTuple):
    """A block of `predicates.txt`.

    Attributes:
        kind: Kind of the answer.
        about: Its subject: "somebody", "you" (the assistant) or "none".
        statements: Ways to state it.
        questions: Ways to ask for it.
    """

    kind: str
    about: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]

    @property
    def is_unique(self) -> bool:
        """Whether it can be told once only: nothing in it tells one from another."""
        return self.about == "none" and not any("{f:person}" in text for text in (*self.statements, *self.questions))


@cache
def predicates() -> tuple[Predicate, ...]:
    """The blocks of `predicates.txt`.

    Raises:
        ValueError: If a block is of an unknown kind, or has no statement or no question.
    """
    text = resources.files("gt.data.conversations").joinpath("predicates.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return tuple(_predicate(block) for block in "\n".join(lines).strip().split("\n\n"))


def _predicate(block: str) -> Predicate:
    head, *rows = (line.strip() for line in block.splitlines())
    kind, about = head, "somebody"
    if head.endswith((" none", " you")):
        kind, _, about = head.rpartition(" ")
    free = evaluation_split().free
    statements = free(row for row in rows if not row.startswith("? "))
    questions = free(row[2:] for row in rows if row.startswith("? "))
    if kind not in (*KINDS, *AMOUNTS, "person", "small_number") or not statements or not questions:
        raise ValueError(f"predicates.txt: got the block {block!r}, expected a kind of noun, statements and questions")
    return Predicate(kind, about, statements, questions)


@cache
def _attributes(of: str) -> tuple[tuple[str, str], ...]:
    table = read_yaml("attributes.yaml", dict[str, dict[str, tuple[str, ...]]])
    return tuple((attribute, kind) for kind, names in table[of].items() for attribute in names)


def predicate_facts(draw: Draw, count: int = 1) -> list[Fact]:
    """Facts of one kind about different people or things, so that who is meant decides which answer is right.

    Fewer come where a kind of fact can be told of one only.
    """
    row = draw.pick([row for row in predicates() if row.about != "you"])
    make = speaker
    if row.kind in KINDS and KINDS[row.kind].shape == "count":
        make = _one_speaker
    if not any("{s's}" in text for text in (*row.statements, *row.questions)) and draw.random() < 0.3:
        make = somebody_who
    scenes = []
    for who in _different(draw, make, 1 if row.is_unique else count):
        scene = _Scene(draw, who, row.kind)
        if row.about == "none":
            scene.nouns["f:person"] = who if who.agreement == SINGULAR else person_alone(draw)
        scenes.append(scene)
    return [scene.fact(row.statements, row.questions, who=row.about == "somebody") for scene in scenes]


def attribute_facts(draw: Draw, count: int = 1) -> list[Fact]:
    """What things and people have: one attribute of different owners, or different ones of one owner."""
    of = "person" if draw.random() < 0.65 else "thing"
    make = speaker if of == "person" else _owner_thing
    same_owner = draw.random() < 0.5
    owners = [make(draw)] * count if same_owner else _different(draw, make, count)
    rows = draw.sample(_attributes(of), count) if same_owner else [draw.pick(_attributes(of))] * count
    return [_attribute_fact(draw, who, *row, of) for who, row in zip(owners, rows, strict=True)]


def revised_fact(draw: Draw, about_you: bool = False) -> tuple[Fact, Fact]:
    """A fact, and the same with another answer.

    Args:
        draw: Where choices come from.
        about_you: Whether it is about the assistant, and not about the speaker or others.
    """
    about = "you" if about_you and draw.random() < 0.35 else "somebody"
    row = draw.pick([row for row in predicates() if row.about == about])
    scene = _Scene(draw, YOU if about_you else _one_speaker(draw), row.kind)
    if draw.random() < (0.2 if about_you else 0.5):
        attribute, kind = draw.pick(_attributes("person"))
        row = Predicate(kind, "somebody", _STATED, (*_QUESTIONED, *(_ASKED_BY_KIND.get(kind, ()) * 3)))
        scene = _Scene(draw, scene.who, kind)
        scene.nouns["A"] = Noun(attribute, attribute, attribute)
    first = scene.fact(row.statements, row.questions)
    old = scene.value.value
    while scene.value.value == old:
        scene.draw_value()
    return first, scene.fact(row.statements, row.questions)


def _attribute_fact(draw: Draw, who: Noun, attribute: str, kind: str, of: str) -> Fact:
    scene = _Scene(draw, who, kind)
    scene.nouns["A"] = Noun(attribute, attribute, attribute)
    asked = (*_QUESTIONED, *(_ASKED_BY_KIND.get(kind, ()) * 3))
    if of == "person":
        return scene.fact(_STATED, asked)
    return scene.fact(_STATED_OF_THINGS if draw.random() < 0.7 else _STATED, (*asked, *_ASKED_OF_THINGS * 4))


def _different(draw: Draw, make: Callable[[Draw], Noun], count: int) -> list[Noun]:
    found: dict[str, Noun] = {}
    while len(found) < count:
        one = make(draw)
        found.setdefault(one.short, one)
    return list(found.values())


def person_alone(draw: Draw) -> Noun:
    """One person, not several."""
    while True:
        one = person(draw)
        if one.agreement == SINGULAR:
            return one


def _one_speaker(draw: Draw) -> Noun:
    """`speaker`, but no group: "we are a cook" is no English."""
    while True:
        one = speaker(draw)
        if one.agreement != PLURAL:
            return one


def _owner_thing(draw: Draw) -> Noun:
    kind = draw.pick(("org", "org", "event", "vehicle", "place", "thing", "city", "own name"))
    if kind == "own name":
        name = draw.made_up().capitalize()
        return Noun(name, name, name)
    one = noun(draw, kind, answer=False)
    if kind != "city":
        text = f"{draw.pick(('the', 'the', 'the', 'our'))} {one.value}"
        return Noun(text, text, one.value)
    return one


def _value(draw: Draw, kind: str) -> Noun:
    if kind == "small_number":
        number = draw.small_number()
        return Noun(number, number, number)
    value = noun(draw, kind, answer=True)
    if kind in KINDS and KINDS[kind].shape in ("count", "event"):
        return value._replace(full=f"{article(value.value)} {value.value}")
    return value


class _Scene:
    """What the braces of a row stand for, the same in its statement and in its questions."""

    def __init__(self, draw: Draw, who: Noun, kind: str) -> None:
        self.draw, self.who, self.kind = draw, who, kind
        self.nouns: dict[str, Noun] = {}
        self.draw_value()

    def draw_value(self) -> None:
        """Draw the answer."""
        self.value = _value(self.draw, self.kind)
        self.many = self.draw.free(plural(self.value.value))

    def fact(self, statements: Sequence[str], questions: Sequence[str], who: bool = True) -> Fact:
        """One of the statements, and some of the questions."""
        told = self.draw.pick(statements)
        statement = self.fill(told, full=True)
        answer = self.many if "{V!}" in told else self.value.value
        asked = dict.fromkeys(self.fill(text) for text in self.draw.sample(questions, 3))
        pairs = tuple((question, answer) for question in asked)
        return Fact(statement, pairs, self.who.short if who else "", kind=self.kind)

    def fill(self, text: str, full: bool = False) -> str:
        """The row with its braces replaced."""
        return _PART.sub(lambda match: self._part(match[1], full, match.string[: match.start()].endswith("the ")), text)

    def _part(self, part: str, full: bool, definite: bool) -> str:
        who, value = self.who, self.value
        match part:
            case "v":
                return value.full
            case "V":
                return value.value
            case "V!":
                return self.many
            case "s":
                return who.full if full else who.short
            case "s's":
                return whose(who)
            case "my":
                return who.possessive
            case "him":
                return {"I": "me", "we": "us"}.get(who.short, who.short)
            case _ if part in _AGREEING:
                return _AGREEING[part][who.agreement]
            case _ if ":" in part or part == "A":
                return self._noun(part, full, definite)
            case _:
                return third_person(part) if who.agreement == SINGULAR else part

    def _noun(self, part: str, full: bool, definite: bool) -> str:
        many = part.endswith("!")
        key = part.rstrip("!")
        if key not in self.nouns:
            self.nouns[key] = self._drawn(key.partition(":")[2], definite)
        one = self.nouns[key]
        if many:
            return self.draw.free(plural(one.full))
        return one.full if full else one.short

    def _drawn(self, kind: str, definite: bool) -> Noun:
        draw = self.draw
        if kind == "person":
            return person_alone(draw)
        if kind == "owner":
            owner = draw.pick(("my", "my", "our", "the", "the", whose(person_alone(draw))))
            return Noun(owner, owner, owner)
        if kind == "roles":
            role = draw.pick([noun for noun, _, many in people("roles") if not many])
            return Noun(role, role, role)
        word = draw.word(kind) if draw.random() < 0.85 or kind not in _OPEN else draw.noun()
        if definite and kind in _KEPT and draw.random() < 0.2:
            longer = f"{word} that {speaker(draw).short} {draw.word('did_with')}"
            return Noun(longer, longer if draw.random() < 0.7 else word, word)
        return Noun(word, word, word)


_OPEN = frozenset(("things", "texts", "places", "events", "rooms", "vehicles", "petkind", "clothing"))
_KEPT = frozenset(("things", "texts", "vehicles", "petkind", "clothing"))
