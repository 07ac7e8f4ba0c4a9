"""Reading conversations: what several begin with is read once, and what one check has read serves the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from gt.measurement import Unmeasurable
from gt.session import Sessions

if TYPE_CHECKING:
    from gt.subject import Subject

Turns = tuple[str, ...]
"""The first turns of a conversation."""

_KEPT = "conversations"


class Trunk(NamedTuple):
    """What was read.

    Attributes:
        rows: The row of each beginning.
        sessions: Its rows.
    """

    rows: dict[Turns, int]
    sessions: Sessions


def read(subject: Subject, conversations: Sequence[Turns], *, room: int, keep: bool = False) -> Sessions:
    """Read conversations turn by turn, up to where the model must answer.

    Args:
        subject: Whose model reads. If the conversations go on from those that were kept last, so does it: with the
            same calls as from the start, the results are the same to the bit.
        conversations: Their turns; the last one is the question.
        room: Tokens of the answer.
        keep: Keep what was read up to the questions, for the conversations that are read next.

    Returns:
        One row for each conversation.

    Raises:
        Unmeasurable: If a conversation with its answer is longer than the model can read.
    """
    _check_length(subject, conversations, room)
    before = [turns[:-1] for turns in conversations]
    trunk, heard = _beginning(subject, before)
    most = max(map(len, before))
    while any(size < len(turns) for size, turns in zip(heard, before, strict=True)):
        trunk = _one_turn_on(trunk, before, heard)
        heard = [min(size + 1, len(turns)) for size, turns in zip(heard, before, strict=True)]
        subject.progress(max(heard), most, "turns of the conversations")
    asked = trunk.sessions.take([trunk.rows[turns] for turns in before])
    if keep:
        subject.kept[_KEPT] = trunk
    asked.feed([turns[-1] for turns in conversations])
    return asked


def _beginning(subject: Subject, before: Sequence[Turns]) -> tuple[Trunk, list[int]]:
    """What an earlier check has read, if all conversations go on from there, and how many turns of each that is."""
    kept: Trunk | None = subject.kept.pop(_KEPT, None)
    if kept is not None:
        heard = [next((size for size in range(len(turns), 0, -1) if turns[:size] in kept.rows), 0) for turns in before]
        if all(heard):
            return kept, heard
    return Trunk({(): 0}, Sessions(subject.model, subject.tokenizer, 1)), [0] * len(before)


def _one_turn_on(trunk: Trunk, before: Sequence[Turns], heard: Sequence[int]) -> Trunk:
    """Read the next turn of every conversation that has one; those with the same turns so far are one row."""
    rows: dict[Turns, int] = {}
    parents: list[int] = []
    texts: list[str] = []
    for turns, size in zip(before, heard, strict=True):
        further = turns[: size + 1]
        if further not in rows:
            rows[further] = len(rows)
            parents.append(trunk.rows[turns[:size]])
            texts.append(turns[size] if size < len(turns) else "")
    sessions = trunk.sessions.take(parents)
    sessions.feed(texts)
    return Trunk(rows, sessions)


def _check_length(subject: Subject, conversations: Sequence[Turns], room: int) -> None:
    limit = subject.longest_text
    if limit is None:
        return
    encode = subject.tokenizer.encode
    needed = room + max(sum(len(encode(turn)) for turn in turns) for turns in conversations)
    if needed > limit:
        raise Unmeasurable(f"it has {limit:,} learned positions, needed are {needed:,}: measure a larger scale")
