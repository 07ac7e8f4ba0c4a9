"""Wordings of the skills that are more than recall, without what an evaluation fixture uses."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TypeVar

import msgspec

from gt.data.conversations.split import evaluation_split

T = TypeVar("T")


class Tone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to be asked for a tone, what is replied in it, and how it answers."""

    asked: tuple[str, ...]
    replies: tuple[str, ...]
    answers: tuple[str, ...]


@cache
def wordings() -> dict[str, tuple[str, ...]]:
    """`behaviour.yaml`: wordings by what they are for.

    Raises:
        msgspec.ValidationError: If the file is no table of texts.
    """
    table = read_yaml("behaviour.yaml", dict[str, tuple[str, ...]])
    return {key: evaluation_split().free(texts) for key, texts in table.items()}


@cache
def tones() -> tuple[Tone, ...]:
    """`tones.yaml`."""
    free = evaluation_split().free
    found = read_yaml("tones.yaml", dict[str, Tone]).values()
    return tuple(Tone(free(tone.asked), free(tone.replies), free(tone.answers)) for tone in found)


@cache
def lists() -> tuple[tuple[str, str], ...]:
    """`lists.yaml`: statements that name several things, each with its question."""
    pairs = read_yaml("lists.yaml", tuple[tuple[str, str], ...])
    return tuple(pair for pair in pairs if len(evaluation_split().free(pair)) == 2)


def read_yaml(name: str, of: type[T]) -> T:
    """A data file of this package.

    Raises:
        msgspec.ValidationError: If it is of another type; names the place.
    """
    return msgspec.yaml.decode(resources.files("gt.data.conversations").joinpath(name).read_bytes(), type=of)
