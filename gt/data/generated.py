"""The generator of conversations as a source: any stretch of its endless examples, as text or as weighted tokens."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from gt.checkpoint import sha256_of
from gt.data import conversations
from gt.data.config import DataSource
from gt.data.conversations import Example, Material
from gt.data.conversations.material import NOTHING
from gt.data.conversations.render import encode_examples
from gt.resources import fixtures_dir
from gt.tokenizers import Tokenizer

DEFAULT_COUNT = 100_000

MATERIAL_CHARACTERS = 16_000_000
"""Prose that is read for words and sentences, from the first."""


def generated_count(source: DataSource) -> int:
    """Number of conversations that a source stands for."""
    return source.count or DEFAULT_COUNT


def material_of(texts: Iterable[str]) -> Material:
    """Words and sentences of prose, so that conversations speak of what the model reads elsewhere."""
    return Material.of(_first(texts, MATERIAL_CHARACTERS))


def examples_of(source: DataSource, start: int, stop: int, material: Material = NOTHING) -> Iterator[Example]:
    """Conversations `start` to `stop` of a source; `material` is what `material_of` found in its prose."""
    mixture = conversations.mixture(source.skills, source.seed, start, material=material)
    return (example for _, example in itertools.islice(mixture, stop - start))


def encoded_examples(
    source: DataSource, start: int, stop: int, tokenizer: Tokenizer, material: Material = NOTHING
) -> Iterator[tuple[str, list[int], list[int]]]:
    """Conversations `start` to `stop`: text, tokens, and the weight of each token in sixteenths."""
    examples = list(examples_of(source, start, stop, material))
    encoded = encode_examples(examples, tokenizer, source.answer_weight, source.user_weight)
    for example, (ids, weights) in zip(examples, encoded, strict=True):
        yield text_of(example), ids, weights


def text_of(example: Example) -> str:
    """A conversation as it is read."""
    return "".join(span.text for span in example)


@cache
def generator_sha256() -> str:
    """Hash of all that decides what is generated: the generator, and the evaluation that it keeps clear of."""
    folder = Path(conversations.__file__).parent
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sha256_of(*sorted(files), *sorted(fixtures_dir().glob("canar*.yaml")))


def _first(texts: Iterable[str], characters: int) -> Iterator[str]:
    for text in texts:
        yield text[:characters]
        characters -= len(text)
        if characters <= 0:
            return
