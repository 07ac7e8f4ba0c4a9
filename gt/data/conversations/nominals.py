"""Facts whose answer stands behind a noun and a preposition: a lecture on, a plate of, a cousin from."""

from __future__ import annotations

from functools import cache

import msgspec

from gt.data.conversations.clauses import Fact
from gt.data.conversations.morphology import article
from gt.data.conversations.nouns import KINDS, YOU, Noun, noun, speaker
from gt.data.conversations.split import evaluation_split
from gt.data.conversations.wordings import read_yaml
from gt.data.conversations.words import Draw


class Sort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nouns of a sort.

    Attributes:
        acts: What is done with them: the past and the base of a verb.
        said: What is said of them.
        heads: The nouns, each with a preposition, by the kind of what follows.
        where: Whether "where" asks for what follows.
        asks: More questions, by the kind of what follows.
    """

    acts: tuple[str, ...]
    said: tuple[str, ...]
    heads: dict[str, tuple[str, ...]]
    where: bool = False
    asks: dict[str, tuple[str, ...]] = {}


_MAINS = (
    "{s} {past} {np}", "{s} {past} {np}", "{s} {past} {np}", "{s} {past} {np} {when}", "{when}, {s} {past} {np}",
    "{s} will {base} {np}", "{s} would like to {base} {np}", "{s} could {base} {np}", "{s} had to {base} {np}",
    "{s} decided to {base} {np}", "what {s} {past} was {np}", "{np} {said}",
    "{np} {said}", "{np} {said} {when}", "there was {np} {when}", "there was {np}", "there is {np} that {s} {past}",
    "it was {np} that {s} {past}", "all that {s} {past} was {np}", "thanks to {np}, {filler}",
    "because of {np}, {filler}",
    "{filler} because {s} {past} {np}", "{filler} until {s} {past} {np}", "after {s} {past} {np}, {filler}",
    "nobody knew that {s} {past} {np}",
    "the best thing was that {s} {past} {np}", "people talk about {np} that {s} {past}", "{s} proudly {past} {np}",
    "instead of sleeping, {s} {past} {np}", "without {np}, nothing would be the same", "{s} only {past} {np}",
    "the evening ended with {np}", "it all began with {np}", "the children were surprised with {np}",
    "{s} could be won over with {np}", "everybody {past} {np}", "they all {past} {np} {when}",
    "{s} may soon {base} {np}",
    "the plan is to {base} {np}", "the firm has announced {np}", "the club is looking for {np}",
    "{when} there will be {np}",
)  # fmt: skip
_OF_HEAD = (
    "what was the {h} {p}", "what was the {h} {p}", "{p} {w} was the {h}", "{w} was the {h} {p}",
    "{p} what was the {h}",
    "what was it a {h} {p}", "what {h} was it", "what kind of {h} was it", "what sort of {h} was that",
    "the {h} {p} what", "tell me what the {h} was {p}", "do you know what the {h} was {p}", "which {h} was it",
    "what did I say the {h} was {p}", "{p} {w} did I say the {h} was", "and what was the {h} {p}", "{w} was it",
    "which {h} did I mention", "what do you know about the {h}", "what about the {h}",
)  # fmt: skip
_OF_ACT = (
    "{w} did {s} {base} {a} {p}", "{p} {w} did {s} {base} {a}", "what did {s} {base} {a} {p}",
    "what {h} did {s} {base}", "what kind of {h} did {s} {base}", "which {h} did {s} {base}",
    "{s} {past} {a} {p} what",
    "{p} {w} was the {h} that {s} had", "what was the {h} that {s} had {p}", "{p} what did {s} {base} {a}",
    "what is {h_of_s} about", "what was {h_of_s} {p}", "{w} was {h_of_s} {p}", "what do you know about {h_of_s}",
)  # fmt: skip
_OF_PLACE = (
    "where was the {h}", "where is the {h}", "{w} was the {h} {p}", "where can the {h} be found",
    "in which part of the world is the {h}", "where is the {h} at home",
)  # fmt: skip


@cache
def _rows() -> tuple[tuple[Sort, str, str, str], ...]:
    """Each sort with a kind of value, a noun and its preposition."""
    free = evaluation_split().free
    return tuple(
        (
            msgspec.structs.replace(
                sort, said=free(sort.said), asks={name: free(asks) for name, asks in sort.asks.items()}
            ),
            kind,
            *_parted(text),
        )
        for sort in read_yaml("nominals.yaml", tuple[Sort, ...])
        for kind, texts in sort.heads.items()
        for text in free(texts)
    )


def _parted(text: str) -> tuple[str, str]:
    """`box full of` -> `box`, `full of`."""
    words = text.split()
    cut = next(place for place, word in enumerate(words) if word in _LINKS)
    return " ".join(words[:cut]), " ".join(words[cut:])


_LINKS = frozenset("of on in for to from with at as about by named called saying marked over into full".split())


def nominal_facts(draw: Draw, count: int = 1, who: Noun | None = None) -> list[Fact]:
    """Facts with a value behind a noun and a preposition; about somebody, or about whoever comes to mind."""
    rows = [draw.pick(_rows()) for _ in range(count)]
    return [_fact(draw, row, who or (speaker(draw) if draw.random() < 0.9 else YOU)) for row in rows]


def _fact(draw: Draw, row: tuple[Sort, str, str, str], who: Noun) -> Fact:
    sort, kind, head, preposition = row
    value = noun(draw, kind, answer=True)
    full = value.full
    if kind in KINDS and KINDS[kind].shape == "count":
        full = draw.pick((f"{article(value.value)} {value.value}", full))
    described = f"{draw.word('thing_adjectives')} {head}" if draw.random() < 0.25 else head
    determiner = draw.pick((article(described), article(described), article(described), "the", who.possessive, "that"))
    # A question may say of the noun what the statement did not.
    asked_head = f"{draw.word('thing_adjectives')} {head}" if draw.random() < 0.15 else head
    past, base = _verb(draw, sort)
    values = {
        "s": who.full, "past": past, "base": base,
        "np": f"{determiner} {described} {preposition} {full}", "said": draw.pick(sort.said),
        "when": draw.pick(draw.lexicon[draw.pick(("times_past", "places_of_action"))]),
        "filler": draw.word("circumstances"), "h": asked_head, "p": preposition,
        "a": f"{article(asked_head)} {asked_head}",
        "h_of_s": f"{draw.pick((who.possessive, 'the', 'that'))} {asked_head}",
        "w": _asked(draw, kind, value),
    }  # fmt: skip
    told = draw.pick(_MAINS)
    statement = told.format_map(values)
    values["s"] = who.short if "{s}" in told else draw.pick(("everybody", "people", "we", "they"))
    acted = "{s}" in told and ("{past}" in told or "{base}" in told)
    forms = [
        *_OF_HEAD,
        *(_OF_ACT * 2 if acted else ()),
        *(_OF_PLACE if sort.where else ()),
        *(sort.asks.get(kind, ()) * 2),
    ]
    asked = dict.fromkeys(draw.pick(forms).format_map(values) for _ in range(3))
    return Fact(statement, tuple((text, value.value) for text in asked), who.short if acted else "", kind=kind)


def _verb(draw: Draw, sort: Sort) -> tuple[str, str]:
    words = draw.pick(sort.acts if draw.random() < 0.7 else _ANY_ACTS).split()
    half = len(words) // 2
    return " ".join(words[:half]), " ".join(words[half:])


_ANY_ACTS = (
    "mentioned mention", "remembered remember", "forgot forget", "heard about hear about", "talked about talk about",
    "wanted want", "needed need", "waited for wait for", "got get", "liked like", "hated hate", "asked about ask about",
    "noticed notice", "expected expect", "thought of think of", "praised praise", "paid for pay for",
)  # fmt: skip


ACTS = tuple((words.split()[0], words.split()[1]) for words in _ANY_ACTS if words.count(" ") == 1)
"""Verbs for anything: past and base."""


def _asked(draw: Draw, kind: str, value: Noun) -> str:
    if value.asked:
        return value.asked
    if kind == "person":
        return draw.pick(("who", "which person"))
    asked = KINDS[kind].asked if kind in KINDS else ("what",)
    longer = [text for text in asked if " " in text]
    return draw.pick(longer) if longer and draw.random() < 0.8 else draw.pick(asked)
