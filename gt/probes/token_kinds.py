"""Kinds of tokens, by what they spell and by whether they were read before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Decoder(Protocol):
    """What spells tokens."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids."""


class _Spelled(msgspec.Struct, frozen=True):
    """What a token spells, and whether the one before it leaves a word open."""

    text: str
    in_word: bool

    @property
    def form(self) -> str:
        bare = self.text.strip()
        if not bare:
            return "space"
        if bare[0].isdigit():
            return "number"
        if not bare[0].isalpha():
            return "punctuation"
        return "inside a word" if self.in_word and not self.text[0].isspace() else "begins a word"


FORMS = ("begins a word", "inside a word", "number", "punctuation", "space")


def token_kinds(tokenizer: Decoder, rows: Sequence[Sequence[int]]) -> dict[str, list[list[bool]]]:
    """Which tokens of some texts are of which kind: of one form each, and either new in their text or read before.

    Args:
        tokenizer: Spells them.
        rows: Token ids of the texts.
    """
    texts = {id_: tokenizer.decode([id_]) for id_ in {id_ for row in rows for id_ in row}}
    forms = []
    seen = []
    for row in rows:
        before = [""] + [texts[id_] for id_ in row[:-1]]
        forms.append([_Spelled(texts[id_], last[-1:].isalpha()).form for id_, last in zip(row, before, strict=True)])
        first = {id_: place for place, id_ in reversed(list(enumerate(row)))}
        seen.append([first[id_] < place for place, id_ in enumerate(row)])
    kinds = {form: [[own == form for own in row] for row in forms] for form in FORMS}
    return kinds | {"new in the text": [[not old for old in row] for row in seen], "read before": seen}
