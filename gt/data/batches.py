"""What training reads: batches that are a pure function of the step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """What one step is trained on.

    Attributes:
        tokens_BT: Token ids [B, T + 1], int64, on the CPU.
        weights_BT: How much each predicted token (all but the first) counts [B, T], fp32; None: all alike.
    """

    tokens_BT: Tensor
    weights_BT: Tensor | None = None


class BatchSource(Protocol):
    """Batches by number: the same for the same source, seed, size and step, so that resuming needs the step alone."""

    def batch(self, step: int) -> Batch:
        """The batch of a step (from 0)."""
        ...
