"""The generator of conversations as a source: any stretch of its endless examples, as text or as weighted tokens."""

from __future__ import annotations

import importlib
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from gt.checkpoint import sha256_of
from gt.data.config import DataSource
from gt.tokenizers import Tokenizer

DEFAULT_COUNT = 100_000

GENERATOR = "gt.data.conversations"

MATERIAL_CHARACTERS = 16_000_000
"""Prose that is read for words and sentences, from the first."""

_MOST = 50_000  # words, and sentences
_SENTENCE = re.compile(r"(?<=[.!?] )[A-Z][a-z]*(?: [A-Za-z][A-Za-z',-]*){3,15}\.(?= )")


class Material(NamedTuple):
    """What conversations take from prose.

    Attributes:
        words: Words that occur five times or more, the commonest first.
        sentences: Plain sentences of 4 to 16 words.
    """

    words: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()


def generated_count(source: DataSource) -> int:
    """Number of conversations that a source stands for."""
    return source.count or DEFAULT_COUNT


def gather_material(texts: Iterable[str]) -> Material:
    """Words and sentences of prose, so that conversations speak of what the model reads elsewhere."""
    words: Counter[str] = Counter()
    sentences: dict[str, None] = {}
    left = MATERIAL_CHARACTERS
    for text in texts:
        flat = " ".join(text[:left].split())
        words.update(re.findall(r"[A-Za-z]+", flat))
        if len(sentences) < _MOST:
            sentences.update(dict.fromkeys(_SENTENCE.findall(flat)))
        left -= len(text)
        if left <= 0:
            break
    common = sorted((word for word, count in words.items() if count >= 5), key=lambda word: (-words[word], word))
    usable = importlib.import_module(GENERATOR).usable_words(common)
    return Material(tuple(usable)[:_MOST], tuple(itertools.islice(sentences, _MOST)))


def conversations(source: DataSource, material: Material, start: int, stop: int) -> Iterator[Any]:
    """Examples `start` to `stop` of a source: tuples of spans."""
    module = importlib.import_module(GENERATOR)
    mixture = module.mixture(source.skills, source.seed, start, words=material.words, prose=material.sentences)
    return (example for _, example in itertools.islice(mixture, stop - start))


def encoded_conversations(
    source: DataSource, material: Material, start: int, stop: int, tokenizer: Tokenizer
) -> Iterator[tuple[str, list[int], list[int]]]:
    """Conversations `start` to `stop`: text, tokens, and the weight of each token in sixteenths."""
    examples = list(conversations(source, material, start, stop))
    encode = importlib.import_module(f"{GENERATOR}.render").encode_examples
    encoded = encode(examples, tokenizer, answer_weight=source.answer_weight, user_weight=source.user_weight)
    for example, (ids, weights) in zip(examples, encoded, strict=True):
        yield text_of(example), ids, weights


def text_of(example: Any) -> str:
    """A conversation as it is read."""
    return "".join(span.text for span in example)


@cache
def generator_sha256() -> str:
    """Hash of the generator's own files: with other templates it is another source."""
    folder = Path(str(importlib.import_module(GENERATOR).__file__)).parent
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sha256_of(*sorted(files))
