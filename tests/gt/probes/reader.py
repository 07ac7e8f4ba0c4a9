"""Readers whose calls are counted, as subjects of `gt.probes.context`."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from gt import scripted
from gt.cache import Resumable
from gt.models.state import ModelState
from gt.training.stream import TokenStream


class Reader(scripted.Reader):
    """Rows and tokens of every call are in `calls`."""

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__(decay)
        self.calls: list[tuple[int, int]] = []

    def forward(
        self, tokens_BT: Tensor, state: ModelState | None = None, return_states: bool = False
    ) -> tuple[Tensor, ModelState]:
        self.calls.append((tokens_BT.shape[0], tokens_BT.shape[1]))
        return super().forward(tokens_BT, state, return_states)


def subject(model: nn.Module, claimed: int = 256, blocks: int = 12, stream: int = 20_000, valid: int = 30_000) -> Any:
    """A subject of `gt.probes.context`; give it a cache of its own."""
    return scripted.subject(
        model,
        {"lrd_blocks": blocks, "stream_tokens": stream},
        claimed_context=claimed,
        valid_tokens=TokenStream(scripted.topics(valid, 1), 2),
        train_tokens=TokenStream(scripted.topics(60_000, 2), 2),
        resumable=lambda what, **key: Resumable(what, key, run_id="one", fresh=False),
    )
