"""What NIAH hides and where: prose with the places at which a sentence begins, and needles for every cell. No torch."""

from __future__ import annotations

import bisect
import random
import re
from collections.abc import Sequence

import msgspec

from gt.data.dialogues import canary_data, needle_data
from gt.data.dialogues.content import Key
from gt.tokenizers import Tokenizer

_SENTENCE = re.compile(r"\s*.+?(?:[.!?](?=\s)|$)", re.DOTALL)


class Needle(msgspec.Struct, frozen=True, kw_only=True):
    """One needle and what is asked about it.

    Attributes:
        key: Number of the key: the cluster for intervals.
        value: The code.
        other: Number of another key, about which nothing is said.
        rivals: Codes that the right one is ranked against by likelihood.
    """

    key: int
    value: str
    other: int
    rivals: tuple[str, ...]

    @property
    def statement(self) -> str:
        """What is hidden, as a sentence among others."""
        return " " + needle_data().keys[self.key].statement.replace("{value}", self.value)

    @property
    def query(self) -> str:
        """What comes after the haystack; the model answers."""
        return question(needle_data().keys[self.key])

    @property
    def other_query(self) -> str:
        """The same for the other key."""
        return question(needle_data().keys[self.other])


RANKED_RIVALS = 3
"""Codes that the right one is ranked against: chance is 1 in 4."""


def question(key: Key) -> str:
    """A turn of the user after a text."""
    return "\n" + canary_data().query(key.question)


def needles(count: int, place: str, seed: int) -> list[Needle]:
    """Needles of different keys and codes.

    Args:
        count: How many.
        place: What they are for, e.g. a cell; each place has needles of its own, whatever else is measured.
        seed: Chooses keys and codes.

    Raises:
        ValueError: If there are not so many keys.
    """
    data = needle_data()
    if not 1 <= count < len(data.keys):
        raise ValueError(
            f"needles: got {count}, expected 1 to {len(data.keys) - 1}, one less than needles.yaml has keys"
        )
    rng = random.Random(f"needles {seed}/{place}")
    keys, values = rng.sample(range(len(data.keys)), count), rng.sample(data.values, count)
    return [
        Needle(
            key=key,
            value=value,
            other=rng.choice([other for other in range(len(data.keys)) if other not in keys]),
            rivals=tuple(rng.sample([rival for rival in data.values if rival != value], RANKED_RIVALS)),
        )
        for key, value in zip(keys, values, strict=True)
    ]


def longest_needle(tokenizer: Tokenizer) -> int:
    """Tokens of the longest needle."""
    data = needle_data()
    value = max(data.values, key=lambda text: len(tokenizer.encode(text)))
    return max(len(tokenizer.encode(" " + key.statement.replace("{value}", value))) for key in data.keys)


def reserve(tokenizer: Tokenizer, answer_tokens: int) -> int:
    """Tokens of a prompt that are not haystack: the longest needle, the longest question and the answer."""
    longest_question = max(len(tokenizer.encode(question(key))) for key in needle_data().keys)
    return longest_needle(tokenizer) + longest_question + answer_tokens


class Haystack:
    """Prose as tokens, with the places where a needle may lie.

    Args:
        documents: Texts in a row.
        tokenizer: Of the model.
        enough: Tokens after which no further document is taken.

    Attributes:
        tokens: Token ids.
        beginnings: Where sentences begin, but for the first.
    """

    def __init__(self, documents: Sequence[str], tokenizer: Tokenizer, enough: int) -> None:
        self.tokens: list[int] = []
        self.beginnings: list[int] = []
        for document in documents:
            if len(self.tokens) >= enough:
                break
            sentences = [found[0] for found in _SENTENCE.finditer(document)]
            sentences[:1] = ["\n\n" + first if self.tokens else first for first in sentences[:1]]
            for ids in tokenizer.encode_batch(sentences):
                if self.tokens:
                    self.beginnings.append(len(self.tokens))
                self.tokens.extend(ids)
        if not self.beginnings:
            raise ValueError("the text has no two sentences: nothing can be hidden between them; give prose")

    def __len__(self) -> int:
        return len(self.tokens)

    def nearest(self, place: float) -> int:
        """The beginning of a sentence that is nearest to a place."""
        after = bisect.bisect_left(self.beginnings, place)
        near = self.beginnings[max(0, after - 1) : after + 1]
        return min(near, key=lambda one: abs(one - place))
