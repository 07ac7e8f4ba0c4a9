"""Clauses of random words, and the statements that they make.

A clause is a subject, a verb and its arguments, drawn without regard to each other, so that meaning says nothing about
which noun fits which place.
"""

from __future__ import annotations

from typing import NamedTuple

from gt.data.conversations.morphology import article, past, plural, progressive, third_person
from gt.data.conversations.nouns import PLURAL, SINGULAR, YOU, joined, noun, person, speaker
from gt.data.conversations.tenses import TENSES, Group, conjugate, is_passive
from gt.data.conversations.verbs import Forms, frames
from gt.data.conversations.words import Draw


class Part(NamedTuple):
    """The subject or an argument of a clause.

    Attributes:
        link: The preposition before it; empty for a subject or an object.
        kind: `thing`, `person`, `place`, `time`, `name` (called it X) or `state` (left it X): what asks for it.
        form: Where the answer is: it is the `whole`, stands `inside` behind a noun and a preposition, before a noun
            that it describes (`modifier`), is the `number`, the last of a `list`, or what the noun is `named`.
        full: As it is stated, with its determiner.
        short: As it is said again, without the answer if that is only a part of it.
        value: The answer.
        head: The noun beside an answer that is but a part; of a list all the others, with "and".
        inner: The preposition between them; of a list all the others, with commas.
        agreement: How a verb agrees with it.
    """

    link: str
    kind: str
    form: str
    full: str
    short: str
    value: str
    head: str = ""
    inner: str = ""
    agreement: int = SINGULAR


class Pattern(NamedTuple):
    """What clauses that are alike have in common: kinds and prepositions of the arguments, a verb and its tense."""

    shape: tuple[str, ...]
    links: tuple[str, ...]
    forms: Forms
    synonyms: tuple[Forms, ...]
    tense: str
    choice: int


class Clause(NamedTuple):
    """Who does what to whom, with what and where; `whom` is who is told to act, in the tenses of control."""

    pattern: Pattern
    subject: Part
    whom: str
    parts: tuple[Part, ...]


OBJECTIVE = {"I": "me", "we": "us"}
SPEAKING = ("I", "we", "you")
LINKS = tuple(
    "of about about in in for for with with with from on to to at against by over after before without through around"
    " under as into between among despite toward beyond".split()
)
_LONG_LINKS = (
    "instead of", "because of", "next to", "out of", "rather than", "along with", "in front of", "apart from",
)  # fmt: skip
_INNER = "of of of of for for for about about in in in with with from on to against as".split()
_ACTIVE = (*(tense for tense in TENSES if not is_passive(tense)), *("imperative",) * 8)
_PASSIVE = tuple(tense for tense in TENSES if is_passive(tense))
_OBJECTS = ("thing", "person", "name", "state")
_SHAPES = tuple(
    tuple(shape.split())
    for shape in (
        *("thing",) * 5, *("thing link",) * 6, *("link",) * 4, *("link link",) * 2, *("person thing",) * 3,
        *("thing name",) * 2, *("thing state",) * 2, "name", "thing link link", "person link", "person thing link",
        "thing place", "place", "thing time", "thing place time", "person time",
    )
)  # fmt: skip
CLASSIFIERS = (
    "bowl", "helping", "pair", "course", "list", "slice", "cup", "piece", "set", "box", "bag", "plate", "jar",
    "bunch", "handful", "bit", "sort", "picture", "copy", "row", "couple", "spoonful", "load", "share", "sample",
    "barrel", "page", "touch", "lot", "kilo", "dozen", "chapter", "round", "pile", "collection", "lesson", "class",
)  # fmt: skip
_NAMING = (Forms("call", "called", "called", "calls", "calling"), Forms("name", "named", "named", "names", "naming"))
_MAKING = (
    Forms("make", "made", "made", "makes", "making"), Forms("leave", "left", "left", "leaves", "leaving"),
    Forms("find", "found", "found", "finds", "finding"), Forms("keep", "kept", "kept", "keeps", "keeping"),
    Forms("turn", "turned", "turned", "turns", "turning"), Forms("want", "wanted", "wanted", "wants", "wanting"),
    Forms("declare", "declared", "declared", "declares", "declaring"),
)  # fmt: skip
_COMMANDS = ("please {}", "do not forget to {}", "make sure to {}", "remember to {}", "you have to {}", "try to {}")
_REPORTS = ("I heard that", "they say that", "we all know that", "it is a pity that", "it seems that", "it is odd that")
_JOINTS = ("because", "because", "so", "but", "and", "while", "until", "after", "before", "when", "although")


def draw_pattern(draw: Draw) -> Pattern:
    """A shape of a clause and a verb, which need not take such arguments and may not exist."""
    shape = draw.pick(_SHAPES)
    frame = draw.pick(frames())
    forms, synonyms = frame.forms, frame.synonyms
    if shape[-1] == "name":
        forms, synonyms = draw.pick(_NAMING), _NAMING
    elif shape[-1] == "state":
        forms, synonyms = draw.pick(_MAKING), _MAKING
    elif draw.random() < 0.25:
        base = draw.made_up().lower()
        forms, synonyms = Forms(base, past(base), past(base), third_person(base), progressive(base)), ()
    links = tuple(_link(draw, kind) for kind in shape)
    # Without an object the subject may as well be what something is done to.
    passive = shape[0] not in _OBJECTS and draw.random() < 0.3
    return Pattern(shape, links, forms, synonyms, draw.pick(_PASSIVE if passive else _ACTIVE), draw.below(1000))


def _link(draw: Draw, kind: str) -> str:
    if kind == "link":
        return draw.pick(LINKS if draw.random() < 0.8 else _LONG_LINKS)
    if kind == "place":
        return draw.pick(("in", "in", "at", "near", "behind", "under", "from", "to"))
    return "on" if kind == "time" else ""


def draw_clause(draw: Draw, pattern: Pattern) -> Clause:
    """A clause of a pattern: its subject and its arguments."""
    if pattern.tense == "imperative":
        subject = Part("", "person", "whole", "you", "you", "", agreement=YOU.agreement)
    elif draw.random() < 0.72:
        one = speaker(draw)
        subject = Part("", "person", "whole", one.full, one.short, one.value, agreement=one.agreement)
    else:
        subject = draw_thing(draw, "")
    whom = speaker(draw).short
    if whom in SPEAKING:
        whom = person(draw).short if subject.full in SPEAKING else OBJECTIVE[whom]
    parts = tuple(_part(draw, kind, link) for kind, link in zip(pattern.shape, pattern.links, strict=True))
    return Clause(pattern, subject, whom, parts)


def _part(draw: Draw, kind: str, link: str) -> Part:
    if kind == "person" or (kind == "link" and draw.random() < 0.2):
        one = person(draw, answer=draw.chance(0.5))
        return Part(link, "person", "whole", one.full, one.short, one.value)
    if kind == "place":
        city = draw.chance(0.3)
        value = draw.word("cities") if city else any_noun(draw)
        full = value if city else f"the {value}"
        return Part(link, kind, "whole", full, full, value)
    if kind == "time":
        date = draw.date() if draw.chance(0.6) else draw.word("weekdays")
        return Part(link, kind, "whole", date, "that day", date)
    if kind in ("name", "state"):
        value = draw.bare() if kind == "name" or draw.chance(0.4) else noun(draw, "state", answer=True).value
        return Part(link, kind, "whole", value, "that", value)
    return draw_thing(draw, link)


def any_noun(draw: Draw) -> str:
    """What can follow an article, at times with an adjective."""
    word = draw.noun()
    return draw.free(f"{draw.word('thing_adjectives')} {word}") if " " not in word and draw.random() < 0.1 else word


def _determined(draw: Draw, word: str) -> str:
    return f"{draw.pick((article(word), article(word), 'the', 'the', 'my', 'our', 'that', 'another'))} {word}"


def draw_thing(draw: Draw, link: str) -> Part:
    """A noun phrase that has its answer in one of the six forms of `Part`."""
    form = draw.random()
    if form < 0.2:
        value = _bare(draw)
        return Part(link, "thing", "whole", f"some {value}" if draw.random() < 0.15 else value, value, value)
    if form < 0.42:
        word = any_noun(draw)
        return Part(link, "thing", "whole", _determined(draw, word), f"the {word}", word)
    if form < 0.7:
        head, inner = (draw.pick(CLASSIFIERS), "of") if draw.random() < 0.35 else (any_noun(draw), draw.pick(_INNER))
        if " " not in head and draw.random() < 0.4:
            head = draw.free(f"{draw.word('thing_adjectives')} {head}")
        value, said = _mass(draw)
        full = f"{_determined(draw, head)} {inner} {said}"
        head = head.rpartition(" ")[2] if draw.random() < 0.6 else head
        return Part(link, "thing", "inside", full, f"the {head}", value, head, inner)
    if form < 0.8:
        head, value = draw.noun().rpartition(" ")[2], draw.bare()
        return Part(link, "thing", "modifier", _determined(draw, f"{value} {head}"), f"the {head}", value, head)
    if form < 0.86:
        number, head = draw.small_number(), draw.free(plural(draw.noun()))
        return Part(link, "thing", "number", f"{number} {head}", f"the {head}", number, head, "", PLURAL)
    if form < 0.92:
        others, value = [_mass(draw)[1] for _ in range(1 + draw.below(3))], draw.bare()
        full = joined([*others, value])
        return Part(link, "thing", "list", full, "them", value, joined(others), ", ".join(others), PLURAL)
    head, value = draw.noun(), draw.bare()
    full = f"{_determined(draw, head)} {draw.pick(('called', 'named', 'by the name of', 'known as'))} {value}"
    return Part(link, "thing", "named", draw.pick((full, f"the {head} {value}")), f"the {head}", value, head)


def _bare(draw: Draw) -> str:
    """What stands without an article, more often of two words than elsewhere: half of such an answer is wrong."""
    first, second = draw.bare(), draw.bare()
    single = " " not in first + second and first != second
    return draw.free(f"{first} {second.lower()}") if single and draw.random() < 0.2 else first


def _mass(draw: Draw) -> tuple[str, str]:
    """A value, and the same as it is said."""
    if draw.random() < 0.6:
        return (value := _bare(draw)), value
    return (value := any_noun(draw)), _determined(draw, value)


def group_of(clause: Clause, forms: Forms) -> Group:
    """A verb in the tense of a clause."""
    if clause.pattern.tense == "imperative":
        return Group(f"should {forms.base}", "should", forms.base)
    return conjugate(clause.pattern.tense, forms, clause.subject.agreement, clause.pattern.choice, clause.whom)


def linked(part: Part, text: str) -> str:
    """A part's text behind its preposition."""
    return f"{part.link} {text}" if part.link else text


def statement_of(draw: Draw, clause: Clause) -> str:
    """A clause as a statement: in plain order, turned around, or beside another clause."""
    subject, parts, forms = clause.subject, clause.parts, clause.pattern.forms
    finite = group_of(clause, forms).finite
    texts = [linked(part, part.full) for part in parts]
    if clause.pattern.tense == "imperative":
        return " ".join((draw.pick(_COMMANDS).format(forms.base), *texts))
    plain = " ".join((subject.full, finite, *texts))
    in_past = clause.pattern.tense == "past"
    form, place = draw.random(), draw.below(len(parts))
    part, rest = parts[place], [*texts[:place], *texts[place + 1 :]]
    if form < 0.1 and part.link:
        return " ".join((f"{texts[place]}{draw.pick((',', ''))}", subject.full, finite, *rest))
    if form < 0.17:
        return " ".join((f"it was {texts[place]} that", subject.full, finite, *rest))
    if form < 0.23:
        links = [part.link] if part.link else []
        return " ".join(("what", subject.full, finite, *rest, *links, _was(part), part.full))
    if form < 0.35 and in_past and not parts[0].link:
        agent = f"by {OBJECTIVE.get(subject.full, subject.full)}"
        ends = draw.pick(((agent, *texts[1:]), (*texts[1:], agent)))
        return " ".join((parts[0].full, _was(parts[0]), forms.participle, *ends))
    if form < 0.4 and not parts[0].link:
        return " ".join((f"there {_was(parts[0])} {parts[0].full} that", subject.full, finite, *texts[1:]))
    if form < 0.47 and parts[0].form == "named":
        links = [parts[0].link] if parts[0].link else []
        relative = (f"the {parts[0].head} that", subject.full, finite, *texts[1:], *links)
        return " ".join((*relative, "was", parts[0].value))
    if form < 0.58:
        return _joined_to_another(draw, plain)
    if form < 0.64:
        return f"{draw.pick(_REPORTS)} {plain}"
    return f"{plain} {draw.word('times_past')}" if form < 0.7 and in_past else plain


def _was(part: Part) -> str:
    return "were" if part.agreement == PLURAL else "was"


def _joined_to_another(draw: Draw, plain: str) -> str:
    """The statement with a clause that nobody asks for."""
    other = f"{speaker(draw).short} {draw.pick(frames()).forms.past} {_determined(draw, any_noun(draw))}"
    joint = draw.pick(_JOINTS)
    if joint not in ("so", "and", "but") and draw.chance(0.4):
        return f"{joint} {other}, {plain}"
    return f"{plain} {joint} {other}"
