"""A scripted subject that predicts tokens from how often it has read them: more context helps it."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

from gt.models.state import ModelState

WORDS, VOCAB, TOPIC = 32, 256, 3000
"""Its text keeps to 32 of 256 words for 3,000 tokens."""


class Reader(nn.Module):
    """A cache model (Kuhn and De Mori 1990): it predicts tokens by decaying counts of what it has read, its state.

    Args:
        decay: Of a count with every token.
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))
        self.decay = decay

    def forward(
        self, tokens_BT: Tensor, state: ModelState | None = None, return_states: bool = False
    ) -> tuple[Tensor, ModelState]:
        """Logits [B, T, 256] and the state."""
        counts = state["counts"] if state else torch.zeros(len(tokens_BT), 1, VOCAB)
        logits = []
        for piece in tokens_BT.split(256, dim=1):
            T = piece.shape[1]
            read = torch.nn.functional.one_hot(piece, VOCAB).float()
            ages = torch.arange(T)[:, None] - torch.arange(T)
            kept = torch.where(ages >= 0, self.decay ** ages.clamp(min=0), 0.0)
            after = kept @ read + self.decay ** torch.arange(1, T + 1)[None, :, None] * counts
            counts = after[:, -1:]
            logits.append((after + 0.05).log())
        return torch.cat(logits, dim=1), ModelState({"counts": counts})


def topics(count: int, seed: int) -> list[int]:
    """Text that keeps to some of the words for a while."""
    draw = random.Random(seed)
    found: list[int] = []
    while len(found) < count:
        words = draw.sample(range(VOCAB), WORDS)
        found += draw.choices(words, k=TOPIC)
    return found[:count]
