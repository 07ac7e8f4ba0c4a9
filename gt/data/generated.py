"""The generator of conversations as a source: any stretch of its endless examples, as text or as weighted tokens."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gt.checkpoint import sha256_of
from gt.data.config import DataSource
from gt.tokenizers import Tokenizer

DEFAULT_COUNT = 100_000

GENERATOR = "gt.data.conversations"


def generated_count(source: DataSource) -> int:
    """Number of conversations that a source stands for."""
    return source.count or DEFAULT_COUNT


def generated_texts(source: DataSource) -> Iterator[str]:
    """The conversations of a source as text."""
    for example in _examples(source, 0, generated_count(source)):
        yield _text(example)


def encoded_examples(
    source: DataSource, start: int, stop: int, tokenizer: Tokenizer
) -> Iterator[tuple[str, list[int], list[int]]]:
    """Conversations `start` to `stop`: text, tokens, and the weight of each token in sixteenths."""
    examples = list(_examples(source, start, stop))
    render = importlib.import_module(f"{GENERATOR}.render")
    for example, (ids, weights) in zip(examples, render.encode_examples(examples, tokenizer), strict=True):
        yield _text(example), ids, weights


def generator_sha256() -> str:
    """Hash of the generator's own files: other templates are another source."""
    module = importlib.import_module(GENERATOR)
    folder = Path(str(module.__file__)).parent
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sha256_of(*sorted(files))


def _examples(source: DataSource, start: int, stop: int) -> Iterator[Any]:
    module = importlib.import_module(GENERATOR)
    mixture = module.mixture(source.skills, source.seed, start)
    return (example for _, example in itertools.islice(mixture, stop - start))


def _text(example: Any) -> str:
    return "".join(span.text for span in example)
