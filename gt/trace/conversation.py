"""A conversation to trace: its turns, and the facts that are asked after each of them. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from gt.data.dialogues import canary_data


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the user says, and what the assistant replies; without a reply the model gives its own."""

    user: str
    assistant: str | None = None


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A fact that the conversation states.

    Attributes:
        name: A short name.
        turn: The turn that states it, from 1.
        question: Asks for it.
        answer: What a right answer names.
        rivals: What a right answer does not name, and what its likelihood is compared with.
        kind: What sort of fact it is; of a persona or preference, a change is drift.
        until: The last turn after which it holds, where a later one corrects it.
    """

    name: str
    turn: int
    question: str
    answer: str
    rivals: tuple[str, ...]
    kind: Literal["fact", "persona", "preference"] = "fact"
    until: int | None = None

    def holds(self, turn: int) -> bool:
        """Whether it was stated, and not corrected, when that turn is over."""
        return self.turn <= turn and (self.until is None or turn <= self.until)


class Conversation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Turns and facts."""

    turns: tuple[Turn, ...]
    facts: tuple[Fact, ...] = ()
    title: str = ""

    def written(self, replies: tuple[str, ...] = ()) -> list[str]:
        """The turns as the model reads them; `replies` are those of the turns that give none, in order."""
        own = iter(replies)
        return [
            canary_data().turn(turn.user, next(own) if turn.assistant is None else turn.assistant)
            for turn in self.turns
        ]


def read_conversation(path: Path) -> Conversation:
    """Read a YAML file with `turns` (user, assistant), `facts` (the fields of `Fact`) and perhaps a `title`.

    Raises:
        ValueError: If it cannot be read or is not of this form: one line.
    """
    try:
        found = msgspec.yaml.decode(path.read_bytes(), type=Conversation)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}; docs/trace.md shows the form") from None
    if not found.turns:
        raise ValueError(f"{path}: has no turn; expected at least one under `turns`")
    names = [fact.name for fact in found.facts]
    for fact in found.facts:
        if names.count(fact.name) > 1:
            raise ValueError(f"{path}: two facts are called {fact.name!r}; give each a name of its own")
        if not 1 <= fact.turn <= len(found.turns):
            raise ValueError(f"{path}: fact {fact.name!r}: turn is {fact.turn}, expected 1 to {len(found.turns)}")
        if fact.until is not None and not fact.turn <= fact.until <= len(found.turns):
            raise ValueError(
                f"{path}: fact {fact.name!r}: until is {fact.until}, expected {fact.turn} to {len(found.turns)}"
            )
        if not fact.rivals or fact.answer in fact.rivals:
            raise ValueError(f"{path}: fact {fact.name!r}: expected at least one rival, and none that is the answer")
    return found
