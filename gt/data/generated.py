"""The generator of conversations as a source: any stretch of its endless examples, as text or as weighted tokens."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from gt.checkpoint import sha256_of
from gt.data.config import DataSource
from gt.resources import fixtures_dir
from gt.tokenizers import Tokenizer

DEFAULT_COUNT = 100_000

GENERATOR = "gt.data.conversations"

MATERIAL_CHARACTERS = 16_000_000
"""Prose that is read for words and sentences, from the first."""


def generated_count(source: DataSource) -> int:
    """Number of conversations that a source stands for."""
    return source.count or DEFAULT_COUNT


def material_of(texts: Iterable[str]) -> Any:
    """The generator's `Material` of prose: words and sentences, so that it speaks of what the model reads elsewhere."""
    return importlib.import_module(GENERATOR).Material.of(_first(texts, MATERIAL_CHARACTERS))


def conversations(source: DataSource, material: Any, start: int, stop: int) -> Iterator[Any]:
    """Examples `start` to `stop` of a source: tuples of spans.

    Args:
        source: Which ones.
        material: What `material_of` found in the source's prose; None if it has none.
        start: Number of the first.
        stop: Number after the last.
    """
    options = {} if material is None else {"material": material}
    mixture = importlib.import_module(GENERATOR).mixture(source.skills, source.seed, start, **options)
    return (example for _, example in itertools.islice(mixture, stop - start))


def encoded_conversations(
    source: DataSource, material: Any, start: int, stop: int, tokenizer: Tokenizer
) -> Iterator[tuple[str, list[int], list[int]]]:
    """Conversations `start` to `stop`: text, tokens, and the weight of each token in sixteenths."""
    examples = list(conversations(source, material, start, stop))
    encode = importlib.import_module(f"{GENERATOR}.render").encode_examples
    encoded = encode(examples, tokenizer, answer_weight=source.answer_weight, user_weight=source.user_weight)
    for example, (ids, weights) in zip(examples, encoded, strict=True):
        yield text_of(example), ids, weights


def _first(texts: Iterable[str], characters: int) -> Iterator[str]:
    for text in texts:
        yield text[:characters]
        characters -= len(text)
        if characters <= 0:
            return


def text_of(example: Any) -> str:
    """A conversation as it is read."""
    return "".join(span.text for span in example)


@cache
def generator_sha256() -> str:
    """Hash of all that decides what is generated: the generator's files, and the evaluation's, which it keeps clear of."""
    folder = Path(str(importlib.import_module(GENERATOR).__file__)).parent
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sha256_of(*sorted(files), *sorted(fixtures_dir().glob("canar*.yaml")))
