"""The reference text that is the same in every Python: what its releases have in common, divided once.

Each release rewords some paragraphs and moves others, and some systems package parts of the library apart. So the text
is a list, `fixtures/reference_text.json`: documents by name with the hashes of their paragraphs, which are looked up in
what the running Python ships. The list was made by `python -m gt.data.reference_list` from CPython 3.11.2 (as Debian
packages it), 3.11.7, 3.12.1 and 3.13.0; where all paragraphs are found, two Pythons have the same text to the letter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from gt.data.reference import reference_paragraphs
from gt.resources import fixtures_dir

LIST = "reference_text.json"
DIGITS = 8
"""Hexadecimal digits of a paragraph's hash: among ten thousand paragraphs two alike are found once in a hundred lists,
and then `reference_list` refuses."""


@dataclass(frozen=True, slots=True)
class ReferenceText:
    """The listed documents as this Python has them.

    Attributes:
        train: Documents for training, one paragraph a line; those of which nothing was found are left out.
        valid: Documents held out.
        found: Share of the listed held-out paragraphs that this Python has: losses are of these.
    """

    train: tuple[str, ...]
    valid: tuple[str, ...]
    found: float


def reference_text() -> ReferenceText:
    """Look the listed paragraphs up in the running Python."""
    listed: dict[str, dict[str, str]] = json.loads((fixtures_dir() / LIST).read_text(encoding="utf-8"))
    here = {paragraph_hash(p): p for _, paragraphs in reference_paragraphs() for p in paragraphs}
    wanted = [digest for hashes in listed["valid"].values() for digest in _split(hashes)]
    found = sum(digest in here for digest in wanted) / len(wanted)
    return ReferenceText(_documents(listed["train"], here), _documents(listed["valid"], here), found)


def paragraph_hash(paragraph: str) -> str:
    """What a paragraph is listed by."""
    return hashlib.blake2b(paragraph.encode(), digest_size=DIGITS // 2).hexdigest()


def _split(hashes: str) -> list[str]:
    return [hashes[at : at + DIGITS] for at in range(0, len(hashes), DIGITS)]


def _documents(listed: Mapping[str, str], here: Mapping[str, str]) -> tuple[str, ...]:
    documents = ("\n".join(here[digest] for digest in _split(hashes) if digest in here) for hashes in listed.values())
    return tuple(document for document in documents if document)
