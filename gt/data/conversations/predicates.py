"""Facts whose question is worded otherwise than their statement: jobs, names, homes, likings, attributes of all sorts."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import NamedTuple

import msgspec

from gt.data.conversations.clauses import Fact, somebody_who
from gt.data.conversations.morphology import article, plural, third_person
from gt.data.conversations.nouns import KINDS, PLURAL, SINGULAR, Noun, noun, person, speaker, whose
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
    """A block of `predicates.txt`: the kind of the answer, whether it has a subject, statements and questions."""

    kind: str
    about_somebody: bool
    statements: tuple[str, ...]
    questions: tuple[str, ...]


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
    kind = head.removesuffix(" none")
    statements = tuple(row for row in rows if not row.startswith("? "))
    questions = tuple(row[2:] for row in rows if row.startswith("? "))
    if (kind not in KINDS and kind not in ("person", "price", "period")) or not statements or not questions:
        raise ValueError(f"predicates.txt: got the block {block!r}, expected a kind of noun, statements and questions")
    return Predicate(kind, kind == head, statements, questions)


@cache
def _attributes(of: str) -> tuple[tuple[str, str], ...]:
    text = resources.files("gt.data.conversations").joinpath("attributes.yaml").read_bytes()
    table = msgspec.yaml.decode(text, type=dict[str, dict[str, tuple[str, ...]]])
    return tuple((attribute, kind) for kind, names in table[of].items() for attribute in names)


def predicate_facts(draw: Draw, count: int = 1) -> list[Fact]:
    """Facts of one kind about different people or things, so that who is meant decides which answer is right.

    Fewer come where a kind of fact can be told of one only.
    """
    row = draw.pick(predicates())
    alone = not row.about_somebody and not any("{f:person}" in text for text in (*row.statements, *row.questions))
    facts = []
    make = _one_speaker if row.kind in KINDS and KINDS[row.kind].shape == "count" else speaker
    if not any("{s's}" in text for text in (*row.statements, *row.questions)) and draw.random() < 0.3:
        make = somebody_who
    for who in _different(draw, make, 1 if alone else count):
        value = _value(draw, row.kind)
        scene = _Scene(draw, who, value)
        if not row.about_somebody:
            scene.nouns["f:person"] = who if who.agreement == SINGULAR else person_alone(draw)
        told = draw.pick(row.statements)
        statement = scene.fill(told, full=True)
        answer = plural(value.value) if "{V!}" in told else value.value
        questions = tuple((scene.fill(text), answer) for text in draw.sample(row.questions, 3))
        facts.append(Fact(statement, questions, who.short if row.about_somebody else ""))
    return facts


def attribute_facts(draw: Draw, count: int = 1) -> list[Fact]:
    """What things and people have: one attribute of different owners, or different ones of one owner."""
    of = "person" if draw.random() < 0.65 else "thing"
    make = speaker if of == "person" else _owner_thing
    same_owner = draw.random() < 0.5
    owners = [make(draw)] * count if same_owner else _different(draw, make, count)
    rows = draw.sample(_attributes(of), count) if same_owner else [draw.pick(_attributes(of))] * count
    facts = []
    for who, (attribute, kind) in zip(owners, rows, strict=True):
        value = _value(draw, kind)
        scene = _Scene(draw, who, value)
        scene.nouns["A"] = Noun(attribute, attribute, attribute)
        of_things = of == "thing" and draw.random() < 0.7
        statement = scene.fill(draw.pick(_STATED_OF_THINGS if of_things else _STATED), full=True)
        asking = (*_QUESTIONED, *(_ASKED_BY_KIND.get(kind, ()) * 3), *(_ASKED_OF_THINGS * 4 if of == "thing" else ()))
        asked = dict.fromkeys(scene.fill(text) for text in draw.sample(asking, 3))
        facts.append(Fact(statement, tuple((question, value.value) for question in asked), who.short))
    return facts


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

    def __init__(self, draw: Draw, who: Noun, value: Noun) -> None:
        self.draw, self.who, self.value = draw, who, value
        self.nouns: dict[str, Noun] = {}

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
                return plural(value.value)
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
        return plural(one.full) if many else one.full if full else one.short

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
