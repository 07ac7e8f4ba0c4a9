"""Whether conversations in sessions of their own are apart: what one reads changes nothing of another, to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gt.data.dialogues import CanaryItem
from gt.measurement import Measurement, measured
from gt.session import Sessions

if TYPE_CHECKING:
    from gt.subject import Subject

CONVERSATIONS = 8


def interleaving_difference(subject: Subject, items: Sequence[CanaryItem]) -> Measurement:
    """Largest absolute difference of the logits after every turn of conversations A, alone and interleaved with B.

    Both are read turn by turn in sessions of their own, and the same rows in the same calls: anything but 0 is a
    leak from B to A.

    Args:
        subject: What is measured.
        items: Conversations: the first half of the first 16 are A, the others B.
    """
    chosen = items[: 2 * CONVERSATIONS]
    conversations, others = chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :]
    alone, interleaved = _logits(subject, conversations, ()), _logits(subject, conversations, others)
    worst = torch.stack([(one - other).abs().max() for one, other in zip(alone, interleaved, strict=True)]).max()
    return measured("interleaving_difference", float(worst), n=len(conversations))


def _logits(subject: Subject, items: Sequence[CanaryItem], others: Sequence[CanaryItem]) -> list[Tensor]:
    """Next-token logits [B, V] after each turn of the items, with a turn of the others read before each."""
    sessions = Sessions(subject.model, subject.tokenizer, len(items))
    beside = Sessions(subject.model, subject.tokenizer, len(others))
    after = []
    for turn in range(max(len(item.turns) for item in items)):
        if others:
            beside.feed([item.turns[turn] if turn < len(item.turns) else "" for item in others])
        sessions.feed([item.turns[turn] if turn < len(item.turns) else "" for item in items])
        after.append(sessions.save()["logits"].float())
    return after
