"""A stream of tokens and the windows cut from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from gt.data.batches import Batch, numbers
from gt.data.store import Integers


class TokenStream:
    """Tokens of documents in a row.

    Args:
        tokens: Token ids.
        minimum: Fewest tokens that make sense for the use.

    Raises:
        ValueError: If there are fewer.
    """

    def __init__(self, tokens: Sequence[int] | Integers, minimum: int) -> None:
        if len(tokens) < minimum:
            raise ValueError(f"the corpus has {len(tokens):,} tokens, needed are {minimum:,}: give more text")
        self.tokens = torch.from_numpy(np.asarray(tokens, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.tokens)

    def random_windows(self, batch_size: int, length: int, seed: int) -> Iterator[Tensor]:
        """Endless batches [B, length + 1] cut at random places, the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        offsets = torch.arange(length + 1)
        while True:
            starts = torch.randint(len(self.tokens) - length, (batch_size, 1), generator=generator)
            yield self.tokens[starts + offsets]

    def spaced_windows(self, count: int, length: int) -> Tensor:
        """`count` windows [count, length] at equal distances: the same text whatever the seed."""
        last = len(self.tokens) - length
        starts = torch.linspace(0, last, count).long()[:, None]
        return self.tokens[starts + torch.arange(length)]


class StreamBatches:
    """Batches of windows that start anywhere in a stream, by number (`gt.data.batches.BatchSource`).

    Args:
        stream: Longer than `length`.
        batch_size: Windows in a batch.
        length: Tokens predicted in each.
        seed: Of the places.
    """

    def __init__(self, stream: TokenStream, batch_size: int, length: int, seed: int) -> None:
        self.stream, self.batch_size, self.length, self.seed = stream, batch_size, length, seed

    def batch(self, step: int) -> Batch:
        """The batch of a step: tokens [B, length + 1], all of one weight."""
        starts = torch.from_numpy(
            numbers(self.seed, step).integers(len(self.stream) - self.length, size=(self.batch_size, 1))
        )
        return Batch(self.stream.tokens[starts + torch.arange(self.length + 1)], None)
