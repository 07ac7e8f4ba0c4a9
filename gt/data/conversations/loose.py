"""Questions that share little with the statement: where there is one fact alone, its answer is what remains.

A question is loosened by putting other words of the same part of speech for its own (synonyms and general words where
they are known), by leaving out its ends, or by asking for the topic or the kind of answer alone.
"""

from __future__ import annotations

import re
from functools import cache

from gt.data.conversations.clauses import Fact
from gt.data.conversations.nouns import KINDS
from gt.data.conversations.split import FUNCTION_WORDS, evaluation_split
from gt.data.conversations.verbs import Forms, frames
from gt.data.conversations.words import Draw, lexicon

_GENERAL = {
    "things": ("thing", "object", "item", "piece"), "rooms": ("room", "part of the house"),
    "places": ("place", "building"), "animals": ("animal", "creature", "beast"), "jobs": ("person", "worker", "expert"),
    "vehicles": ("vehicle", "machine"), "events": ("event", "occasion", "gathering"),
    "texts": ("text", "paper", "piece of writing"), "letters": ("letter", "note"),
    "clothing": ("piece of clothing", "garment"), "plants": ("plant",), "instruments": ("instrument",),
    "surfaces": ("piece of furniture", "furniture"), "petkind": ("pet", "little one"), "clubs": ("group", "people"),
    "secret": ("secret", "word"), "titled": ("person",), "ride": ("ride", "vehicle"), "kin": ("relative",),
    "organizations": ("organization", "firm"), "meals": ("meal", "food"),
}  # fmt: skip
_FORMS = ("base", "past", "participle", "third", "progressive")
_ASKED = frozenset(word for row in KINDS.values() for text in row.asked for word in text.split())
_NOUN = re.compile(r"\b(?:the|my|our|your|his|her|their) ([a-z]+(?: [a-z]+)?)\b")
_WORD = re.compile(r"^(?:(in|on|at|to|from|for|with|about|of|into|as|by) )?((?:what|which) ([a-z]+))\b")
_KINDS_ONLY = ("{w} was it", "{w} was that", "{w} did I mean", "{w} was I talking about", "so {w} is it", "{w}")
_TOPICS = (
    "what about the {n}", "and the {n}", "what was it about the {n}", "what did I say about the {n}",
    "what do you know about the {n}", "what was that about the {n}", "how was it with the {n}",
)  # fmt: skip


@cache
def _verbs() -> dict[str, tuple[str, Forms, tuple[Forms, ...]]]:
    """Verb forms of one word: which form it is, of which verb, and its synonyms."""
    found: dict[str, tuple[str, Forms, tuple[Forms, ...]]] = {}
    for frame in frames():
        for name in _FORMS:
            form = getattr(frame.forms, name)
            if " " not in form:
                found.setdefault(form, (name, frame.forms, frame.synonyms))
    return found


@cache
def _general() -> dict[str, tuple[str, ...]]:
    """More general words for a noun."""
    found: dict[str, tuple[str, ...]] = {}
    for kind, general in _GENERAL.items():
        for word in lexicon().get(kind, ()):
            found.setdefault(word.rpartition(" ")[2], general)
    return found


def loosened(draw: Draw, fact: Fact, question: str) -> str:
    """A question for the same answer in other words, unlike the evaluation's; only where there is one fact."""
    other = _loosened(draw, fact, question)
    return question if evaluation_split().is_like(other) else other


def _loosened(draw: Draw, fact: Fact, question: str) -> str:
    form = draw.random()
    if fact.kind and form < 0.3:
        topic = _NOUN.search(question)
        if form < 0.15 and topic is not None:
            return draw.pick(_TOPICS).format(n=topic[1])
        asked = _WORD.match(question)
        if asked is not None and asked[3] not in FUNCTION_WORDS:
            return draw.pick(_KINDS_ONLY).format(w=asked[2])
    if form < 0.45:
        question = _shortened(draw, question)
    return _reworded(draw, question)


def _shortened(draw: Draw, question: str) -> str:
    """Without what follows one of its prepositions, if that is not all of it."""
    words = question.split()
    ends = [place for place, word in enumerate(words) if place > 4 and word in _CUTS]
    return " ".join(words[: draw.pick(ends)]) if ends else question


_CUTS = frozenset("in on at for with near behind under during after before around when because while from".split())


def _reworded(draw: Draw, question: str) -> str:
    words = question.split()
    share = draw.pick((0.3, 0.5, 0.8))
    changed = []
    for place, word in enumerate(words):
        after_determiner = place > 0 and words[place - 1] in _DETERMINERS
        if (
            word in FUNCTION_WORDS
            or word in _ASKED
            or word in _LEFT_ALONE
            or not word.isalpha()
            or draw.random() > share
        ):
            changed.append(word)
        elif word in _verbs() and not after_determiner:
            changed.append(_other_verb(draw, word))
        elif word[0].isupper():
            changed.append(word)
        elif word in _general() and draw.random() < 0.6:
            changed.append(draw.pick(_general()[word]))
        elif after_determiner or word in _general():
            changed.append(draw.word(draw.pick(("things", "places", "abstract", "events", "texts"))))
        else:
            changed.append(word)
    return " ".join(changed)


_DETERMINERS = frozenset("the my our your his her their a an its".split())
_LEFT_ALONE = frozenset("many much often long tell say said know remember remind name called like kind sort".split())


def _other_verb(draw: Draw, word: str) -> str:
    name, _, synonyms = _verbs()[word]
    if synonyms and draw.random() < 0.6:
        chosen = draw.pick(synonyms)
    else:
        chosen = draw.pick(frames()).forms
    other = str(getattr(chosen, name))
    return word if evaluation_split().has_value(other) else other
