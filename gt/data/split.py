"""Which text of a source is held out for validation."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from gt.data.sources import Piece

FEW_DOCUMENTS = 20
"""Whole documents are held out where at least this many are to be expected; else the tail is. Chosen by their hashes,
none at all would be held out once in e^20 such sources."""

_NEAR = 2_000  # characters within which a better place to cut the tail off is looked for


class Split(NamedTuple):
    """How a source is divided.

    Attributes:
        share: Share that is held out.
        tail_from: Character at which the validation text begins; None where documents are chosen by their hashes.
    """

    share: float
    tail_from: int | None = None


class Routed(NamedTuple):
    """A piece and where it goes.

    Attributes:
        part: "train" or "valid".
        text: Its text.
        begins: Whether it begins a document.
        ends: Whether it ends one.
        position: As in `Piece`.
    """

    part: str
    text: str
    begins: bool
    ends: bool
    position: int = 0


def held_out(text: str, share: float) -> bool:
    """Whether a document that begins with this text is held out: decided by its hash, so a copy goes the same way."""
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def plan_split(read: Callable[[], Iterable[Piece]], share: float) -> Split:
    """Decide how to divide a source: reads no more of it than it takes to know that there are enough documents."""
    if not share:
        return Split(0.0)
    enough = math.ceil(FEW_DOCUMENTS / share)
    documents = characters = 0
    for piece in read():
        documents += piece.ends
        characters += len(piece.text)
        if documents >= enough:
            return Split(share)
    return Split(share, characters - round(share * characters))


def routed(found: Iterable[Piece], split: Split) -> Iterator[Routed]:
    """Pieces on their way to training or validation."""
    begins, part, place = True, "train", 0
    for piece in found:
        end = place + len(piece.text)
        if split.tail_from is None:
            if begins:
                part = "valid" if held_out(piece.text, split.share) else "train"
        elif part == "train" and end >= split.tail_from:
            cut = _place_to_cut(piece.text, split.tail_from - place)
            before, text = piece.text[:cut].rstrip(), piece.text[cut:].strip()
            if before or not begins:
                yield Routed("train", before, begins, True, piece.position)
            part = "valid"
            if text:
                yield Routed("valid", text, True, piece.ends, piece.position)
            begins, place = piece.ends or not text, end
            continue
        yield Routed(part, piece.text, begins, piece.ends, piece.position)
        begins, place = piece.ends, end


def _place_to_cut(text: str, start: int) -> int:
    for mark in ("\n", " "):
        found = text.find(mark, start, min(start + _NEAR, start + (len(text) - start) // 5))
        if found >= 0:
            return found
    return start
