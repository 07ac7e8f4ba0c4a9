"""A model whose two states are decayed sums, so that what the diagnostics must find is known exactly."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gt.models.state import ModelState

VOCAB = 48


class Memories(nn.Module):
    """logits = gain_r * sum_r + gain_m * sum_m, each sum a decayed one over the one-hot codes of what was read.

    Args:
        rwkv: Decay and gain of the first state.
        mamba: Of the second.
        constant: Component in which every token leaves the same.
    """

    def __init__(
        self, rwkv: tuple[float, float] = (1, 1), mamba: tuple[float, float] = (1, 1), constant: str = ""
    ) -> None:
        super().__init__()
        self.decays = {"rwkv": rwkv[0], "mamba": mamba[0]}
        self.gains = {"rwkv": rwkv[1], "mamba": mamba[1]}
        self.constant = constant

    def forward(
        self,
        tokens_BT: Tensor,
        state: ModelState | None = None,
        return_states: bool = False,
        return_activations: bool = False,
    ) -> Any:
        B, T = tokens_BT.shape
        logits_BTV = torch.zeros(B, T, VOCAB)
        after, seen = {}, {}
        for name, decay in self.decays.items():
            codes_BTV = F.one_hot(tokens_BT, VOCAB).float()
            if name == self.constant:
                codes_BTV = torch.ones_like(codes_BTV)
            total_BV = torch.zeros(B, VOCAB) if state is None else state[f"{name}_state"][:, 0]
            sums = []
            for t in range(T):
                total_BV = decay * total_BV + codes_BTV[:, t]
                sums.append(total_BV)
            logits_BTV = logits_BTV + self.gains[name] * torch.stack(sums, dim=1)
            after[f"{name}_state"], seen[f"{name}_out"] = total_BV[:, None], codes_BTV[:, None]
        out = [logits_BTV]
        if return_states:
            out.append(ModelState(after))  # type: ignore[arg-type]
        if return_activations:
            out.append(seen)  # type: ignore[arg-type]
        return out[0] if len(out) == 1 else tuple(out)


class MemoriesSubject:
    """Texts of one token each, row by row another."""

    trained_note = ""
    tokenizer = SimpleNamespace(decode=lambda ids: f" {chr(97 + ids[0] % 26)}")
    capabilities = frozenset({"states", "streaming", "two_components"})

    def __init__(self, model: nn.Module) -> None:
        self.model = self.trained_model = model
        self.progress = lambda done, total, note: None

    def windows(self, count: int, length: int, *, apart: bool = False) -> Tensor:
        return torch.arange(count)[:, None].expand(count, length) % VOCAB
