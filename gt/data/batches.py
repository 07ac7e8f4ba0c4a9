"""Batches of tokens, each a pure function of its step: a run resumes by its step number alone."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gt.data.store import WEIGHT_UNIT, Tokens, WeightedTokens


@dataclass(frozen=True)
class Batch:
    """Windows of text.

    Attributes:
        tokens_BT: Token ids [B, T + 1], int64, on the CPU.
        weights_BT: Weight in the loss [B, T], fp32, of the predicted tokens `tokens_BT[:, 1:]`; None where all are 1.
    """

    tokens_BT: Tensor
    weights_BT: Tensor | None


class BatchSource(Protocol):
    """What training reads."""

    def batch(self, step: int) -> Batch:
        """The batch of a step, the same on every call."""
        ...


class MixtureBatches:
    """Windows drawn with replacement from several sources.

    Row b of the batch of a step chooses its source and its place with two random numbers of that step (`numbers`).

    Args:
        sources: What to draw from.
        batch_size: Windows of a batch.
        length: Tokens that are predicted in a window.
        seed: Of the order.

    Raises:
        ValueError: If a source is too short for one window.
    """

    def __init__(self, sources: Sequence[WeightedTokens], batch_size: int, length: int, seed: int) -> None:
        if not sources:
            raise ValueError("there is nothing to draw batches from: give at least one source")
        for name, value, least in (("batch_size", batch_size, 1), ("length", length, 1), ("seed", seed, 0)):
            if value < least:
                raise ValueError(f"{name} is {value}: expected at least {least}")
        self._sources = tuple(sources)
        self._places = [places(source.tokens, length + 1, source.start) for source in sources]
        self._shares = list(itertools.accumulate(source.weight for source in sources))
        self._weighted = any(source.tokens.weighted for source in sources)
        self._batch_size, self._length, self._seed = batch_size, length, seed

    def batch(self, step: int) -> Batch:
        """The batch of a step, the same on every call."""
        uniform = numbers(self._seed, step).random((self._batch_size, 2))
        rows = []
        for which, where in uniform.tolist():
            index = min(bisect.bisect_right(self._shares, which * self._shares[-1]), len(self._sources) - 1)
            rows.append((index, int(where * self._places[index])))
        return _batch([(self._sources[i], place) for i, place in rows], self._length + 1, self._weighted)


def spaced_windows(source: WeightedTokens, count: int, length: int) -> Batch:
    """Windows at equal distances: the same text whatever the seed, for validation.

    Args:
        source: What to take them from.
        count: Number of windows; fewer where the source has not so many places.
        length: Tokens that are predicted in a window.

    Raises:
        ValueError: If the source is too short for one window.
    """
    last = places(source.tokens, length + 1, source.start) - 1
    count = min(count, last + 1)
    chosen = [0] if count == 1 else [round(i * last / (count - 1)) for i in range(count)]
    return _batch([(source, place) for place in chosen], length + 1, source.tokens.weighted)


def places(tokens: Tokens, length: int, start: str) -> int:
    """Number of places where a window of `length` tokens can begin.

    Raises:
        ValueError: If there is none.
    """
    found = len(tokens) - length + 1
    if start == "document":
        found = bisect.bisect_left(range(tokens.documents), max(found, 0), key=tokens.document_start)
    if found < 1:
        raise ValueError(
            f"{tokens.name} has {len(tokens):,} tokens, a window needs {length:,} from its start on: give more text "
            "or a smaller length"
        )
    return found


def _batch(rows: Sequence[tuple[WeightedTokens, int]], length: int, weighted: bool) -> Batch:
    tokens_BT = np.empty((len(rows), length), dtype=np.int64)
    weights_BT: npt.NDArray[np.float32] | None = (
        np.empty((len(rows), length - 1), dtype=np.float32) if weighted else None
    )
    for row, (source, place) in enumerate(rows):
        begin = source.tokens.document_start(place) if source.start == "document" else place
        tokens_BT[row] = source.tokens.read(begin, length)
        if weights_BT is not None:
            weights_BT[row] = source.tokens.read_weights(begin + 1, length - 1) / WEIGHT_UNIT
    return Batch(torch.from_numpy(tokens_BT), None if weights_BT is None else torch.from_numpy(weights_BT))


def numbers(seed: int, step: int, purpose: int = 0) -> np.random.Generator:
    """Random numbers that belong to a step, whichever steps came before.

    Those of the counter-based generator Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"):
    seed and purpose are its key, the step is the highest word of its counter, so that no two of them share numbers.

    Args:
        seed: Of the run; of more than 64 bits the lowest count.
        step: Step.
        purpose: Another number for what must not be drawn alike.
    """
    return np.random.Generator(
        np.random.Philox(key=np.array([seed % 2**64, purpose], np.uint64), counter=[0, 0, 0, step])
    )
