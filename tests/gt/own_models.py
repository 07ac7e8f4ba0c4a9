"""Models of a user's own: one that gives logits, and what others offer besides."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gt.subject import Subject, SubjectRequest, load_subject, plan_subject


class Plain(nn.Module):
    """Tokens to logits and nothing else, with a tied head."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 8)
        self.gru = nn.GRU(8, 8, batch_first=True)
        self.head = nn.Linear(8, vocab_size, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.head(self.gru(self.embedding(tokens))[0])
        return out


class Streaming(Plain):
    """Continues from a state that is a plain dict."""

    def forward(self, tokens: Tensor, state: Any = None, return_states: bool = False) -> Any:
        before = None if state is None else state["gru_state"].transpose(0, 1).contiguous()
        out, after = self.gru(self.embedding(tokens), before)
        return (self.head(out), {"gru_state": after.transpose(0, 1)}) if return_states else self.head(out)


class Growing(Plain):
    """A cache that calls itself a state."""

    def forward(self, tokens: Tensor, state: Any = None, return_states: bool = False) -> Any:
        seen = tokens if state is None else torch.cat([state["seen"], tokens], dim=1)
        logits = super().forward(seen)[:, -tokens.shape[1] :]
        return (logits, {"seen": seen}) if return_states else logits


class Halves(Plain):
    """Two components."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__(vocab_size)
        self.rwkv, self.mamba = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, tokens: Tensor, return_activations: bool = False) -> Any:
        x = self.embedding(tokens)
        seen = {"rwkv_out": self.rwkv(x)[:, None], "mamba_out": self.mamba(x)[:, None]}
        logits = self.head(seen["rwkv_out"][:, 0] + seen["mamba_out"][:, 0])
        return (logits, seen) if return_activations else logits


def subject(model: str, **request: Any) -> Subject:
    wanted = SubjectRequest(model=model, device="cpu", **request)
    return load_subject(plan_subject(wanted), lambda done, total, note: None)
