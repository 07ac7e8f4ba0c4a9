"""What `groundthink trace` measures of a subject, as records that become tables, pictures and JSON."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec

from gt.models.hybrid import BlockLM
from gt.trace.conversation import Conversation
from gt.trace.episodes import Episodes, follow
from gt.trace.evolution import FEWEST, Evolution, Shift, evolve, least_z, robust_scores, shifts

if TYPE_CHECKING:
    from gt.subject import Subject

NEEDED = {"states": "recurrent states", "streaming": "continuing from a state"}


class TextTrace(msgspec.Struct, frozen=True, kw_only=True):
    """One text.

    Attributes:
        tokens: How many were read.
        block: Tokens from one place to the next.
        evolution: States after every block.
        shifts: Where they change abruptly.
        excerpts: The text of the stretch of each shift.
        judged: Whether there were blocks enough to tell what is abrupt.
        least_z: Robust z-score from which a change of each component is abrupt; empty where none is judged.
    """

    tokens: int
    block: int
    evolution: Evolution
    shifts: list[Shift]
    excerpts: list[str]
    judged: bool
    least_z: dict[str, float]


class ConversationTrace(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation.

    Attributes:
        conversation: What was asked for.
        text: All of it as one text, in blocks.
        turns: Its states after every turn.
        ends: Tokens up to the end of every turn.
        episodes: What the state still answers.
    """

    conversation: Conversation
    text: TextTrace
    turns: Evolution
    ends: list[int]
    episodes: Episodes


def trace_text(subject: Subject, text: str, block: int, most: int) -> TextTrace:
    """Read a text in blocks.

    Args:
        subject: Whose states are followed.
        text: The text.
        block: Tokens of a block.
        most: Most tokens to read.

    Raises:
        ValueError: If the subject has no recurrent state, or the text is shorter than two blocks.
    """
    return _in_blocks(subject, subject.tokenizer.encode(text)[:most], block)


def trace_conversation(subject: Subject, conversation: Conversation, block: int) -> ConversationTrace:
    """Read a conversation turn by turn, asking forks of it, and once more for what its states do.

    Raises:
        ValueError: If the subject has no recurrent state or cannot generate, or all of it is shorter than two blocks.
    """
    _require(subject, "generation")
    episodes = follow(subject.model, subject.tokenizer, conversation)
    turns = [subject.tokenizer.encode(text) for text in episodes.written]
    tokens = [token for turn in turns for token in turn]
    ends = list(accumulate(map(len, turns)))
    return ConversationTrace(
        conversation=conversation,
        text=_in_blocks(subject, tokens, block),
        turns=evolve(subject.model, tokens, ends, has_gate=_has_gate(subject)),
        ends=ends,
        episodes=episodes,
    )


def _in_blocks(subject: Subject, tokens: list[int], block: int) -> TextTrace:
    _require(subject)
    if block < 1:
        raise ValueError(f"block is {block}: expected at least 1 token")
    if len(tokens) < 2 * block:
        raise ValueError(
            f"the text has {len(tokens)} tokens and a block {block}: expected at least two blocks, give a longer text "
            "or --block"
        )
    places = list(range(block, len(tokens) + 1, block))  # a rest that fills no block would change less
    evolution = evolve(subject.model, tokens, places, has_gate=_has_gate(subject))
    found = shifts(evolution)
    limits = {name: least_z(robust_scores(changes)) for name, changes in evolution.changes.items()}
    return TextTrace(
        tokens=len(tokens),
        block=block,
        evolution=evolution,
        shifts=found,
        excerpts=[subject.tokenizer.decode(tokens[shift.start : shift.end]) for shift in found],
        judged=len(places) > FEWEST,
        least_z={name: round(z, 2) for name, z in limits.items() if math.isfinite(z)},
    )


def _has_gate(subject: Subject) -> bool:
    return isinstance(subject.model, BlockLM) and "two_components" in subject.capabilities


def _require(subject: Subject, *more: str) -> None:
    missing = [name for name in (*NEEDED, *more) if name not in subject.capabilities]
    if missing:
        raise ValueError(
            f"{subject.plan.label} lacks {', '.join(NEEDED.get(name, name) for name in missing)}: give another model"
        )
