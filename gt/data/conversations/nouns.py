"""Noun phrases by kind: what is stated in full, said again in short, asked for, and answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gt.data.conversations.morphology import article, plural
from gt.data.conversations.words import Draw, people

NATURAL_ANSWERS = 0.35
"""Share of answers that fit their kind. The others fit in form alone, so that copying is the only way to know them."""

NATURAL_OTHERS = 0.8

SINGULAR, PLURAL, FIRST = 2, 1, 0
"""How a verb agrees: with `she`, with `they` and `we`, with `I`."""


class Noun(NamedTuple):
    """A noun phrase.

    Attributes:
        full: As it is first said, e.g. "an old lamp".
        short: As it is said again, e.g. "the lamp".
        value: The answer to a question for it, e.g. "old lamp".
        agreement: How a verb agrees with it.
        possessive: "my", "her", ... where it is a person.
        asked: The question word and noun, where the kind alone does not tell.
    """

    full: str
    short: str
    value: str
    agreement: int = SINGULAR
    possessive: str = "its"
    asked: str = ""


class Kind(NamedTuple):
    """A kind of noun phrase.

    Attributes:
        shape: How it is made: `count` (a lamp), `the` (the kitchen), `bare` (Rome) or the name of a method of `Draw`.
        words: Kinds of the lexicon that fit.
        asked: Question words, the likeliest several times.
        place: Whether "where" asks for it.
    """

    shape: str
    words: tuple[str, ...]
    asked: tuple[str, ...]
    place: bool = False


def _kind(shape: str, words: str, asked: str, place: bool = False) -> Kind:
    return Kind(shape, tuple(words.split()), tuple(asked.split("|")), place)


KINDS = {
    "thing": _kind("count", "things", "what|what|what|which thing|which object"),
    "things": _kind("plural", "plural_things", "what|which things"),
    "vehicle": _kind("count", "vehicles", "what|which vehicle|what kind of vehicle"),
    "clothing": _kind("count", "clothing", "what|what|which piece of clothing"),
    "letter": _kind("count", "letters", "what|what"),
    "text": _kind("count", "texts", "what|what|which text"),
    "animal": _kind("count", "animals", "what|which animal|which animal|what kind of animal|what animal"),
    "plant": _kind("count", "plants", "what|which plant|what kind of plant"),
    "prize": _kind("count", "prizes", "what|which prize"),
    "job_a": _kind("count", "jobs", "what|which job|what kind of worker"),
    "room": _kind("the", "rooms", "which room|which room|what|which part of the house", place=True),
    "place": _kind("the", "places", "which place|what", place=True),
    "surface": _kind("the", "surfaces", "what|which piece of furniture", place=True),
    "event": _kind("event", "events", "what|which event|what event"),
    "org": _kind("the", "organizations groups", "what|who|which organization"),
    "instrument": _kind("the", "instruments", "which instrument|what|what instrument|what kind of instrument"),
    "city": _kind("bare", "cities", "which city|which city|what city|which town|which place", place=True),
    "country": _kind("bare", "countries", "which country|which country|what country", place=True),
    "food": _kind("bare", "foods", "what|what|what food|which food|which dish|what kind of food"),
    "drink": _kind("bare", "drinks", "what|what|which drink|what drink|what kind of drink"),
    "meal": _kind("bare", "meals", "which meal|what"),
    "color_as": _kind("bare", "colors", "what color|what color|which color"),
    "color": _kind("bare", "colors", "what color|which color|what|which color"),
    "hobby": _kind("bare", "hobbies", "what|which hobby|what activity|which activity|which sport"),
    "language": _kind("bare", "languages", "which language|what language|which language"),
    "subject": _kind("bare", "subjects", "which subject|what subject|what"),
    "material": _kind("bare", "materials", "what|which material|what material"),
    "job_a_position": _kind("position", "jobs", "which position|what position|which job"),
    "topic": _kind("bare", "topics abstract", "what|what|which topic|what topic|what subject"),
    "vehicle_bare": _kind("bare", "rides", "what means of transport"),
    "name_as": _kind("bare", "pets women men", "what|which name|what name"),
    "name": _kind("bare", "pets women men", "what name|which name"),
    "street": _kind("street", "surnames", "which street|what street"),
    "book title": _kind("title", "", "which book|what book|what"),
    "film title": _kind("title", "", "which movie|which film|what movie"),
    "song title": _kind("title", "", "which song|what song|what"),
    "code": _kind("code", "", "which code|what code|what|which word"),
    "number": _kind("number", "", "which number|what number|what number"),
    "date": _kind("date", "", "when|which day|what date|which date"),
    "time": _kind("time", "", "what time|what time|when"),
    "weekday": _kind("bare", "weekdays", "which day|what day|which day of the week"),
    "puzzle": _kind("count", "texts", "what|which puzzle"),
    "bare": _kind("bare", "abstract pets", "what|which word"),
    "surname": _kind("bare", "surnames", "what"),
    "season": _kind("bare", "seasons", "which season"),
    "genre": _kind("bare", "genres", "what"),
    "trait": _kind("bare", "traits", "what"),
    "manner": _kind("adjective", "characters person_adjectives traits", "what"),
    "state": _kind("adjective", "states thing_adjectives", "what"),
}

LISTED = frozenset(
    "thing vehicle clothing letter text animal plant room place city country food drink hobby language subject material"
    " color instrument topic event".split()
)
"""Kinds of which several can be named in a row."""

_DETERMINERS = ("a", "a", "a", "the", "the", "own", "own", "that", "one")


def noun(draw: Draw, kind: str, answer: bool, possessive: str = "my") -> Noun:
    """A noun phrase of a kind.

    Args:
        draw: Where choices come from.
        kind: A key of `KINDS`, `person`, or one of the kinds of amounts.
        answer: Whether it will be asked for.
        possessive: Of whom things are, e.g. "my".

    Raises:
        KeyError: If there is no such kind.
    """
    if kind == "person":
        return person(draw, answer)
    if kind in AMOUNTS:
        return AMOUNTS[kind](draw)
    row = KINDS[kind]
    natural = draw.random() < (NATURAL_ANSWERS if answer else NATURAL_OTHERS)
    shape = row.shape
    if shape == "bare":
        value = draw.word(draw.pick(row.words)) if natural and row.words else draw.bare()
        many = natural and kind in ("food", "drink") and value.endswith("s")
        full = value
        if draw.random() < 0.15 and kind in _DESCRIBED:
            full = f"{draw.pick(_DESCRIBED[kind])} {value}"
        return Noun(full, value, value, PLURAL if many and full == value else SINGULAR)
    if shape == "count":
        return _counted(draw, draw.word(row.words[0]) if natural else draw.noun(), possessive)
    if shape == "the":
        value = draw.word(draw.pick(row.words)) if natural else draw.noun()
        owned = possessive if row.place and draw.chance(0.15) else "the"
        return Noun(f"{owned} {value}", f"the {value}", value)
    if shape == "event":
        value = draw.word("events") if natural else draw.noun()
        owner = draw.pick(("the", "the", possessive, article(value)))
        return Noun(f"{owner} {value}", f"the {value}", value)
    if shape == "plural":
        value = draw.word(row.words[0]) if natural else draw.free(plural(draw.noun()))
        determiner = draw.pick(("some", "the", possessive))
        return Noun(f"{determiner} {value}", f"the {value}", value, PLURAL)
    if shape == "position":
        value = draw.word("jobs") if natural else draw.noun()
        return Noun(f"the position of {value}", "that position", value)
    if shape == "adjective":
        value = draw.word(draw.pick(row.words)) if draw.random() < 0.75 else draw.bare()
        return Noun(value, value, value)
    if shape == "street":
        value = f"{draw.word('surnames') if natural else draw.made_up().capitalize()} {draw.pick(_STREETS)}"
        return Noun(value, value, value)
    if shape == "title":
        value = _title(draw)
        return Noun(value, value, value)
    value = getattr(draw, shape)()
    return Noun(value, value, value)


def several_nouns(draw: Draw, kind: str) -> tuple[Noun, tuple[str, ...]]:
    """Two to five of a kind as one noun phrase, and what each of them is."""
    count = 2 + draw.below(4)
    ones: dict[str, str] = {}
    while len(ones) < count:
        one = noun(draw, kind, answer=True)
        ones[one.value] = one.full
    values = tuple(ones)
    singular = "person" if kind == "person" else KINDS[kind].asked[0].rpartition(" ")[2]
    asked = draw.pick(("who", "which people")) if kind == "person" else ""
    if not asked and singular != "what":
        asked = f"which {plural(singular)}"
    return Noun(joined(list(ones.values())), "them", joined(values), PLURAL, asked=asked or "what"), values


def joined(texts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return f"{', '.join(texts[:-1])} and {texts[-1]}" if len(texts) > 1 else texts[0]


def person(draw: Draw, answer: bool = False) -> Noun:
    """A person other than the speaker: a relative, a name, or somebody known by what they do."""
    choice = draw.random()
    if answer and choice < 0.7:
        name = draw.name()
        full = f"{draw.pick(_SOMEBODY)} {name}" if draw.random() < 0.15 else name
        return Noun(full, name, name, SINGULAR, "their")
    if choice < 0.45:
        relative, possessive, many = draw.pick(people("kin"))
        owner = "our" if draw.chance(0.2) else "my"
        text = f"{owner} {relative}"
        return Noun(text, text, relative, PLURAL if many else SINGULAR, possessive)
    if choice < 0.7:
        woman = draw.chance(0.5)
        name = draw.word("women" if woman else "men")
        return Noun(name, name, name, SINGULAR, "her" if woman else "his")
    if choice < 0.85:
        role, possessive, many = draw.pick(people("roles"))
        text = f"the {role}"
        return Noun(text, text, role, PLURAL if many else SINGULAR, possessive)
    job = draw.word("jobs") if draw.chance(0.8) else draw.noun()
    return Noun(f"the {job}", f"the {job}", job, SINGULAR, "their")


def speaker(draw: Draw) -> Noun:
    """Who a sentence is about: the speaker more often than others."""
    choice = draw.random()
    if choice < 0.42:
        return _SPEAKER
    if choice < 0.55:
        return _SPEAKERS
    return person(draw)


def whose(one: Noun) -> str:
    """`Anna's`, `my aunt's`, `my`, `your`: what stands before a thing that somebody has."""
    if one.full in ("I", "we", "you"):
        return one.possessive
    return f"{one.short}'" if one.short.endswith("s") and one.agreement == PLURAL else f"{one.short}'s"


def _counted(draw: Draw, word: str, possessive: str) -> Noun:
    if draw.random() < 0.25 and " " not in word:
        word = draw.free(f"{draw.word('thing_adjectives')} {word}")
    determiner = draw.pick(_DETERMINERS)
    if determiner == "a":
        determiner = article(word)
    elif determiner == "own":
        determiner = possessive
    full = f"{determiner} {word}"
    if draw.random() < 0.06:
        full = f"{full} {draw.word('where_from')}"
    return Noun(full, f"{'the' if determiner != possessive else possessive} {word}", word)


def _title(draw: Draw) -> str:
    first = draw.made_up() if draw.chance(0.3) else draw.word("thing_adjectives")
    second = draw.word("abstract") if draw.chance(0.6) else draw.noun()
    form = draw.pick(("The {0} {1}", "{1}", "{0} {1}", "A {1} for {2}", "The {1} of {2}"))
    title = form.format(first, second, draw.word("cities")).title()
    return draw.free(title)


def _number_of(draw: Draw) -> Noun:
    things = draw.free(plural(draw.word(draw.pick(("things", "animals", "clothing", "vehicles")))))
    count = draw.small_number()
    return Noun(f"{count} {things}", f"the {things}", count, PLURAL, asked=f"how many {things}")


def _price(draw: Draw) -> Noun:
    amount = draw.free_number(2, 2 + 10 ** (1 + draw.below(3)))
    price = draw.pick((f"${amount}", f"{amount} dollars", f"{amount} euros", f"{amount} pounds", f"${amount}.50"))
    return Noun(price, "that much", price, asked=draw.pick(("how much", "how much", "how much money")))


def _period(draw: Draw) -> Noun:
    period = f"{draw.small_number()} {draw.pick(('days', 'weeks', 'months', 'hours', 'years', 'minutes'))}"
    return Noun(period, "that long", period, PLURAL, asked="how long")


def _weight(draw: Draw) -> Noun:
    weight = f"{draw.free_number(2, 200)} {draw.pick(('kilograms', 'pounds', 'grams', 'tons'))}"
    return Noun(weight, "that much", weight, PLURAL, asked="how much")


AMOUNTS = {"number_of": _number_of, "price": _price, "period": _period, "weight": _weight}
_SOMEBODY = (
    "somebody called", "someone named", "a person called", "a friend called", "a man called", "a woman named",
    "a certain", "a guy named", "a lady by the name of", "someone by the name of",
)  # fmt: skip
_PORTIONS = ("some", "some", "a bit of", "a lot of", "plenty of", "a piece of", "a plate of", "a box of", "more")
_DESCRIBED = {
    "food": _PORTIONS,
    "drink": ("some", "some", "a glass of", "a cup of", "a bottle of", "a sip of", "a mug of", "a little"),
    "material": ("some", "pure", "real", "a sort of"),
    "city": ("a town called", "the city of", "a place called", "beautiful", "a village by the name of"),
    "country": ("a country called", "the land of", "faraway", "sunny"),
    "topic": ("the topic of", "the idea of", "nothing but", "the subject of"),
    "hobby": ("a bit of", "some"),
    "code": ("the code", "the word"),
}
_STREETS = ("Street", "Avenue", "Road", "Lane", "Square")
_SPEAKER = Noun("I", "I", "I", FIRST, "my")
_SPEAKERS = Noun("we", "we", "we", PLURAL, "our")
YOU = Noun("you", "you", "you", PLURAL, "your")
"""The assistant, as the user says it."""
