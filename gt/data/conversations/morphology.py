"""Forms of English verbs and nouns: irregular ones by table, the others by rule."""

from __future__ import annotations

from functools import cache

_VOWELS = frozenset("aeiou")
_IRREGULAR_PLURALS = {
    "mouse": "mice", "goose": "geese", "foot": "feet", "tooth": "teeth", "child": "children", "man": "men",
    "woman": "women", "person": "people", "wolf": "wolves", "calf": "calves", "leaf": "leaves", "shelf": "shelves",
    "knife": "knives", "thief": "thieves", "loaf": "loaves", "sheep": "sheep", "deer": "deer", "moose": "moose",
    "salmon": "salmon", "trout": "trout", "shrimp": "shrimp", "bison": "bison", "ox": "oxen", "fish": "fish",
}  # fmt: skip
_CONSONANT_SOUND = ("uni", "use", "eu", "one", "ukul")
_VOWEL_SOUND = ("hour", "honest", "honor", "heir")
_DOUBLING = frozenset(
    "stop drop hug plan trap grab rub slip trip chat pat pin wrap ship swap rip tip zip step jog nod beg rob skip chop"
    " shop knit spot trim prefer refer admit commit permit cut put set run sit win dig get hit shut swim forget begin"
    " let mop".split()
)


@cache
def article(word: str) -> str:
    """`a` or `an`, by the sound that a word begins with."""
    lower = word.lower()
    if lower.startswith(_VOWEL_SOUND):
        return "an"
    return "an" if lower[:1] in _VOWELS and not lower.startswith(_CONSONANT_SOUND) else "a"


@cache
def plural(noun: str) -> str:
    """Plural of a noun or of a phrase that ends in one."""
    head, space, last = noun.rpartition(" ")
    if last in _IRREGULAR_PLURALS:
        last = _IRREGULAR_PLURALS[last]
    elif last.endswith(("s", "x", "z", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2:-1] not in _VOWELS:
        last = f"{last[:-1]}ies"
    else:
        last += "s"
    return f"{head}{space}{last}"


@cache
def third_person(verb: str) -> str:
    """`carry on` -> `carries on`."""
    first, space, rest = verb.partition(" ")
    if first == "have":
        first = "has"
    elif first == "be":
        first = "is"
    elif first in ("go", "do") or first.endswith(("s", "x", "z", "ch", "sh")):
        first += "es"
    elif first.endswith("y") and first[-2:-1] not in _VOWELS:
        first = f"{first[:-1]}ies"
    else:
        first += "s"
    return f"{first}{space}{rest}"


@cache
def past(verb: str) -> str:
    """Past form of a regular verb, which is its participle too: `pick up` -> `picked up`."""
    first, space, rest = verb.partition(" ")
    if first.endswith("e"):
        first += "d"
    elif first.endswith("y") and first[-2:-1] not in _VOWELS:
        first = f"{first[:-1]}ied"
    elif first in _DOUBLING:
        first += f"{first[-1]}ed"
    else:
        first += "ed"
    return f"{first}{space}{rest}"


@cache
def progressive(verb: str) -> str:
    """`put on` -> `putting on`."""
    first, space, rest = verb.partition(" ")
    if first.endswith("ie"):
        first = f"{first[:-2]}ying"
    elif first.endswith("e") and not first.endswith(("ee", "ye", "oe")) and first != "be":
        first = f"{first[:-1]}ing"
    elif first in _DOUBLING:
        first += f"{first[-1]}ing"
    else:
        first += "ing"
    return f"{first}{space}{rest}"
