"""A scripted subject that predicts tokens from how often it has read them: more context helps it."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from gt.cache import Resumable
from gt.models.state import ModelState
from gt.training.stream import TokenStream

VOCAB = 256
WORDS = 32
TOPIC = 3000
"""Tokens of a stretch of text that keeps to some words."""


class Reader(nn.Module):
    """A cache model (Kuhn and De Mori 1990): its state is decaying counts of what was read."""

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))
        self.decay = decay
        self.calls: list[tuple[int, int]] = []

    def forward(
        self, tokens: Tensor, state: ModelState | None = None, return_states: bool = False
    ) -> tuple[Tensor, ModelState]:
        self.calls.append((tokens.shape[0], tokens.shape[1]))
        counts = state["counts"] if state else torch.zeros(len(tokens), 1, VOCAB)
        logits = []
        for piece in tokens.split(256, dim=1):
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


def subject(model: nn.Module, claimed: int = 256, blocks: int = 12, stream: int = 20_000, valid: int = 30_000) -> Any:
    """A subject of `gt.probes.context`; give it a cache of its own."""
    return SimpleNamespace(
        model=model,
        tokenizer=None,
        seed=0,
        claimed_context=claimed,
        longest_text=None,
        size={"lrd_blocks": blocks, "stream_tokens": stream}.__getitem__,
        valid_tokens=TokenStream(topics(valid, 1), 2),
        train_tokens=TokenStream(topics(60_000, 2), 2),
        progress=lambda done, total, note: None,
        resumable=lambda what, **key: Resumable(what, key, run_id="one", fresh=False),
    )
