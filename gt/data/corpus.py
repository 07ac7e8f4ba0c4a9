"""Prose for the checks: the reference documentation that every Python ships, or the user's own text file.

Both come as documents divided once into training and validation, with a hash that goes to the scorecard: two runs
are comparable where the hashes agree. The reference text is the same in several releases of Python, but for what a
release has reworded since: `share` says how much of what losses are measured on was found.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gt.data.reference_text import reference_text
from gt.data.text_files import open_text

MIN_CHARACTERS = 50_000
"""Least text that can be measured on: the tenth kept for validation is then about 1,200 tokens, two batches of 8
sequences of 64. With less, the baselines and states are those of a handful of sentences."""

VALIDATION_SHARE = 0.1

REFERENCE = "python-reference"
"""Name of the text where none is given."""

DOCUMENT_SEPARATOR = "<|endoftext|>"

_FEW_DOCUMENTS = 20  # below this, whole documents cannot make up a tenth: the tail is held out instead


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents divided into training and validation.

    Attributes:
        name: What the text is: "python-reference" or the file's name.
        sha256: Hash of the cleaned documents together with their division.
        train: Documents for training.
        valid: Documents for validation; none of them is in `train`.
        share: How much of the held-out reference text this Python has; None for a text of the user's own.
    """

    name: str
    sha256: str
    train: tuple[str, ...]
    valid: tuple[str, ...]
    share: float | None = None

    @property
    def characters(self) -> int:
        """Total length of all documents."""
        return sum(map(len, self.train)) + sum(map(len, self.valid))


@cache
def python_reference() -> Corpus:
    """Prose from this Python's own reference: language topics and standard-library docstrings.

    Modules are read as source and never imported. Markup, code, tables and paragraphs that are not sentences are
    removed, and so is what not every release of Python has: see `reference_text`.

    Raises:
        ValueError: If this Python was installed without its sources and reference text.
    """
    text = reference_text()
    found = sum(map(len, text.train + text.valid))
    if found < MIN_CHARACTERS:
        raise ValueError(
            f"this Python carries too little reference text: got {found:,} characters, expected at least "
            f"{MIN_CHARACTERS:,} (standard library without sources?); give a text of your own with --gt-corpus FILE"
        )
    return Corpus(REFERENCE, _digest(text.train, text.valid), text.train, text.valid, text.found)


def check_text_file(path: str | Path) -> None:
    """Find out cheaply whether `text_file` will accept a file: reads no more than its first 50,000 characters.

    Raises:
        ValueError: One line with what was got, what was expected and the remedy, if the file is missing, is not a
            file, cannot be read, is not UTF-8 (so far as it was read) or is too short.
    """
    _check_length(Path(path), len(_read(Path(path), MIN_CHARACTERS)))


def text_file(path: str | Path) -> Corpus:
    """The user's own text as a corpus.

    Lines that read `<|endoftext|>` separate documents; where there are none, blank lines do. `.gz`, `.xz` and `.zst`
    files are unpacked. Of a text in fewer than 20 documents, the last tenth is held out; of others, whole documents.

    Args:
        path: UTF-8 text of at least 50,000 characters, without what is in it twice.

    Raises:
        ValueError: As `check_text_file`, for the whole file.
    """
    path = Path(path)
    text = _read(path, -1)
    _check_length(path, len(text))
    separator = rf"(?m)^[ \t]*{re.escape(DOCUMENT_SEPARATOR)}[ \t]*$"
    if not re.search(separator, text):
        separator = r"\n[ \t]*\n"
    documents = list(dict.fromkeys(part for part in map(str.strip, re.split(separator, text)) if part))
    _check_length(path, sum(map(len, documents)))
    return _divided(path.name, documents)


def _read(path: Path, characters: int) -> str:
    """First characters of a text file (all with -1), with one-line errors."""
    expected = f"expected a UTF-8 text file of at least {MIN_CHARACTERS:,} characters"
    if not path.exists():
        raise ValueError(f"corpus {path}: no such file; {expected}: check the path")
    if not path.is_file():
        kind = "a directory" if path.is_dir() else "not a regular file"
        raise ValueError(f"corpus {path}: is {kind}; {expected}: give one file, or join several into one")
    try:
        with open_text(path) as (stream, _):
            return stream.read(characters)
    except ValueError as error:
        raise ValueError(f"corpus {error}; {expected}") from None


def _check_length(path: Path, characters: int) -> None:
    if characters < MIN_CHARACTERS:
        raise ValueError(
            f"corpus {path}: too short: got {characters:,} characters, expected at least {MIN_CHARACTERS:,} "
            "(repeated documents count once): give a longer text"
        )


def _divided(name: str, documents: Sequence[str]) -> Corpus:
    """Hold out about a tenth, by the documents' own hashes, so that neither order nor a seed matters."""
    wanted = VALIDATION_SHARE * sum(map(len, documents))
    if len(documents) < _FEW_DOCUMENTS:
        train, valid = _tail_held_out("\n\n".join(documents), round(wanted))
    else:
        held_out: set[int] = set()
        size = 0
        for index in sorted(range(len(documents)), key=lambda i: hashlib.sha256(documents[i].encode()).digest()):
            # One huge document must not become most of the validation text.
            if size + len(documents[index]) <= 1.05 * wanted:
                held_out.add(index)
                size += len(documents[index])
        train = [document for index, document in enumerate(documents) if index not in held_out]
        valid = [document for index, document in enumerate(documents) if index in held_out]
    return Corpus(name=name, sha256=_digest(train, valid), train=tuple(train), valid=tuple(valid))


def _digest(train: Sequence[str], valid: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps([train, valid]).encode()).hexdigest()


def _tail_held_out(text: str, characters: int) -> tuple[list[str], list[str]]:
    start = len(text) - characters
    for boundary in (r"\n", r"(?<=[.!?]) ", r"\s"):  # the best place to cut that is near
        found = re.compile(boundary).search(text, start, start + characters // 5)
        if found:
            start = found.end()
            break
    return [text[:start].strip()], [text[start:].strip()]
