"""Words for training conversations: a lexicon by kind, made-up words, and values that fit a kind only in form."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import TypeVar

from gt.data.conversations.material import NOTHING, Material
from gt.data.conversations.split import evaluation_split
from gt.data.conversations.wordings import read_yaml

T = TypeVar("T")

_ONSETS = "b bl br c ch cl cr d dr f fl fr g gl gr h j k kl kr l m n p pl pr qu r s sc sh sk sl sm sn sp st t th tr v w y z".split()  # noqa: E501 - one table
_NUCLEI = "a e i o u a e i o u a e i o u ai ea ee ia io oa oo ou".split()
_CODAS = " b ck d f g k l ll m n nd ng nt p r rk rn rt s sh sk ss st t th x z".split(" ")
_SMALL = "two three four five six seven eight nine ten eleven twelve thirteen fifteen twenty thirty forty fifty".split()
_COUNT_KINDS = ("things", "animals", "jobs", "vehicles", "plants", "clothing", "texts", "letters", "instruments")
_BARE_KINDS = (
    "cities", "countries", "hobbies", "languages", "subjects", "materials", "abstract", "colors", "pets", "foods",
    "drinks", "things", "animals", "surnames", "genres", "plants",
)  # fmt: skip
_SPLICED = ("cities", "countries", "surnames", "women", "men", "animals", "foods", "things", "instruments", "hobbies")


@cache
def _table() -> dict[str, str]:
    return read_yaml("lexicon.yaml", dict[str, str])


def _free(text: str) -> tuple[str, ...]:
    """The comma-separated words of a text that are no value of the evaluation, each once."""
    words = dict.fromkeys(" ".join(part.split()) for part in text.split(","))
    return tuple(word for word in words if word and not evaluation_split().has_value(word))


@cache
def lexicon() -> dict[str, tuple[str, ...]]:
    """Words by kind, without those that an evaluation fixture uses as a value.

    Raises:
        msgspec.ValidationError: If the data file is no table of words.
    """
    return {kind: _free(block) for kind, block in _table().items() if kind not in ("kin", "roles")}


@cache
def people(kind: str) -> tuple[tuple[str, str, bool], ...]:
    """Nouns for people (`kin` or `roles`), each with its possessive and whether it means more than one."""
    lines = (line.split(" ", 1) for line in _table()[kind].splitlines())
    return tuple(
        (noun, "their" if pronoun == "them" else pronoun, pronoun == "them")
        for pronoun, nouns in lines
        for noun in _free(nouns)
    )


class Draw:
    """Random choices of one example, from the lexicon and from the training text.

    Args:
        seed: Whatever tells the example from all others.
        material: Words and sentences of the training text.
    """

    __slots__ = ("lexicon", "material", "random", "words")

    def __init__(self, seed: str, material: Material = NOTHING) -> None:
        self.random = random.Random(seed).random
        self.lexicon = lexicon()
        self.material = material
        self.words = material.words

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices."""
        return choices[int(self.random() * len(choices))]

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random() < probability

    def below(self, limit: int) -> int:
        """A number from 0 to limit - 1."""
        return int(self.random() * limit)

    def sample(self, choices: Sequence[T], count: int) -> list[T]:
        """Different ones of the choices, in random order; all of them if there are not enough."""
        left = list(choices)
        return [left.pop(int(self.random() * len(left))) for _ in range(min(count, len(left)))]

    def word(self, kind: str) -> str:
        """A word of the lexicon."""
        return self.pick(self.lexicon[kind])

    def made_up(self) -> str:
        """A word that does not exist, of one to three syllables."""
        while True:
            if self.random() < 0.4:
                word = self._spliced()
                if len(word) > 4 and not evaluation_split().has_value(word):
                    return word
                continue
            count = 1 + (self.random() < 0.75) + (self.random() < 0.3) + (self.random() < 0.15)
            word = "".join(self.pick(_ONSETS) + self.pick(_NUCLEI) for _ in range(count)) + self.pick(_CODAS)
            if len(word) > 3 and not evaluation_split().has_value(word):
                return word

    def _spliced(self) -> str:
        """The beginning of one word and the end of another: tokens of real words, in an order never seen."""
        first, second = (
            (self.pick(self.words) if self.words and self.random() < 0.7 else self.word(self.pick(_SPLICED))).split()[0]
            for _ in range(2)
        )
        return f"{first[: (len(first) + 1) // 2]}{second[len(second) // 2 :]}".lower()

    def noun(self) -> str:
        """Anything that can follow an article: a word, a made-up word or a compound."""
        draw = self.random()
        if draw < 0.4 and self.words:
            return self.pick(self.words)
        if draw < 0.62:
            return self.word(self.pick(_COUNT_KINDS))
        if draw < 0.85:
            return self.made_up()
        return self.free(f"{self.word('thing_adjectives')} {self.word(self.pick(_COUNT_KINDS))}")

    def bare(self) -> str:
        """Anything that can stand without an article."""
        draw = self.random()
        if draw < 0.4 and self.words:
            word = self.pick(self.words)
            return word.capitalize() if self.random() < 0.25 else word
        if draw < 0.6:
            return self.word(self.pick(_BARE_KINDS))
        if draw < 0.8:
            word = self.made_up()
            return word.capitalize() if self.random() < 0.4 else word
        if draw < 0.86:
            return self.code()
        first = self.pick(self.words) if self.words and self.random() < 0.5 else self.word("abstract")
        second = self.word("abstract")
        return self.free(f"{first} {second}" if first != second else first)

    def name(self) -> str:
        """A first name, a made-up name, or a name in two parts."""
        draw = self.random()
        if draw < 0.45:
            return self.word("women" if self.random() < 0.5 else "men")
        if draw < 0.6 and self.words:
            return self.pick(self.words).capitalize()
        if draw < 0.8:
            return self.made_up().capitalize()
        if draw < 0.9:
            return f"{self.pick(('Mr.', 'Mrs.', 'Doctor', 'Captain', 'Aunt', 'Uncle', 'Miss'))} {self.word('surnames')}"
        return f"{self.word('women' if self.random() < 0.5 else 'men')} {self.word('surnames')}"

    def number(self) -> str:
        """A whole number in digits."""
        return self.free_number(2, 2 + 10 ** (1 + self.below(4)))

    def small_number(self) -> str:
        """A number of things, in words or digits."""
        return self.pick(_SMALL) if self.random() < 0.6 else self.free_number(2, 99)

    def free_number(self, least: int, end: int) -> str:
        """Digits of a number from `least` to `end` - 1 that is no value of the evaluation."""
        while True:
            number = str(least + self.below(end - least))
            if not evaluation_split().has_value(number):
                return number

    def code(self) -> str:
        """A code such as `KX-482`, `7731` or `blim-9`."""
        while True:
            draw = self.random()
            letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
            if draw < 0.35:
                code = f"{self.pick(letters)}{self.pick(letters)}-{self.below(1000)}"
            elif draw < 0.6:
                code = str(100 + self.below(99900))
            elif draw < 0.8:
                code = f"{self.made_up()}-{self.below(100)}"
            else:
                code = f"{self.made_up().upper()}-{self.below(10)}"
            if not evaluation_split().has_value(code):
                return code

    def date(self) -> str:
        """A date: a day of a month, mostly."""
        while True:
            day, month = 1 + self.below(28), self.word("months")
            draw = self.random()
            if draw < 0.7:
                date = f"{month} {day}"
            elif draw < 0.8:
                date = f"the {ordinal(day)} of {month}"
            elif draw < 0.9:
                date = f"{self.word('weekdays')}, {month} {day}"
            else:
                date = f"{day} {month}"
            if not evaluation_split().has_value(date):
                return date

    def time(self) -> str:
        """A time of day."""
        draw = self.random()
        if draw < 0.5:
            return f"{1 + self.below(12)}:{self.free_number(0, 60).zfill(2)}"
        if draw < 0.75:
            quarter = self.pick(("half past", "a quarter to", "a quarter past", "ten to", "five past"))
            return f"{quarter} {self.pick(_SMALL[:11])}"
        return self.pick(("noon", "midnight", *(f"{word} o'clock" for word in _SMALL[:11])))

    def free(self, phrase: str) -> str:
        """The phrase, or a made-up word where the phrase became a value of the evaluation."""
        return self.made_up() if evaluation_split().has_value(phrase) else phrase


def ordinal(number: int) -> str:
    """`3` -> `3rd`."""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"
