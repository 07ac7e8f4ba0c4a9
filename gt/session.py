"""Conversations: state carried from turn to turn, for one conversation or for many side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from gt.models.hybrid import HybridLM
from gt.models.state import ModelState
from gt.tokenizers import Tokenizer

MAX_ROWS = 128  # sequences per call: bounds memory, changes no result


class Sessions:
    """Conversations side by side, each with its own state. Rows are independent: any batch size gives the same.

    Args:
        model: A model that streams.
        tokenizer: Its tokenizer.
        count: Number of conversations.
    """

    def __init__(self, model: HybridLM, tokenizer: Tokenizer, count: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.count = count
        self._state: ModelState | None = None
        self._logits: Tensor | None = None

    def feed(self, texts: Sequence[str]) -> None:
        """Read the next stretch of text of every conversation.

        Args:
            texts: One text per conversation, none empty.

        Raises:
            ValueError: If their number does not fit, or a text has no token.
        """
        if len(texts) != self.count:
            raise ValueError(f"got {len(texts)} texts for {self.count} conversations")
        self.feed_tokens([self.tokenizer.encode(text) for text in texts])

    @torch.no_grad()
    def feed_tokens(self, rows: Sequence[Sequence[int]]) -> None:
        """As `feed`, with token ids."""
        if not all(rows):
            raise ValueError("a conversation got an empty text: there is nothing to read")
        # A recurrent state has no padding mask: rows of equal length are read together.
        by_length: dict[int, list[int]] = defaultdict(list)
        for index, row in enumerate(rows):
            by_length[len(row)].append(index)
        order: list[int] = []
        states: list[ModelState] = []
        logits: list[Tensor] = []
        for length in sorted(by_length):
            for start in range(0, len(by_length[length]), MAX_ROWS):
                chosen = by_length[length][start : start + MAX_ROWS]
                tokens = torch.tensor([list(rows[i]) for i in chosen], device=self._device)
                state = self._state.select(chosen) if self._state is not None else None
                out, new_state = self.model(tokens, state=state, return_states=True)
                order += chosen
                states.append(new_state)
                logits.append(out[:, -1])
        back = [0] * len(order)
        for position, index in enumerate(order):
            back[index] = position
        self._state = type(states[0]).cat(states).select(back)
        self._logits = torch.cat(logits)[back]

    @torch.no_grad()
    def generate(self, max_tokens: int) -> list[str]:
        """Greedy continuation of every conversation (temperature 0); the conversations move on with it.

        Raises:
            ValueError: If nothing was fed yet.
        """
        state, logits = self._ready()
        chosen: list[Tensor] = []
        for _ in range(max_tokens):
            token = logits.argmax(-1)
            chosen.append(token)
            pieces = [
                self.model(token[rows, None], state=state.select(rows), return_states=True)
                for rows in _slices(self.count)
            ]
            state = ModelState.cat([piece[1] for piece in pieces])
            logits = torch.cat([piece[0][:, -1] for piece in pieces])
        self._state, self._logits = state, logits
        tokens = torch.stack(chosen, dim=1).tolist()
        return [self.tokenizer.decode(self._until_end(row)) for row in tokens]

    def _until_end(self, row: list[int]) -> list[int]:
        end = self.tokenizer.end_of_text
        return row[: row.index(end)] if end in row else row

    @torch.no_grad()
    def score(self, texts: Sequence[str]) -> list[float]:
        """Log-likelihood of one continuation per conversation, in nats; the conversations stay where they are.

        Raises:
            ValueError: If their number does not fit, a text has no token, or nothing was fed yet.
        """
        _, logits = self._ready()
        rows = [self.tokenizer.encode(text) for text in texts]
        first = torch.tensor([row[0] for row in rows], device=self._device)
        totals = logits.float().log_softmax(-1).gather(1, first[:, None])[:, 0]
        probe = self.fork()
        longest = max(map(len, rows))
        for position in range(1, longest):
            probe.feed_tokens([[row[min(position, len(row)) - 1]] for row in rows])
            _, logits = probe._ready()
            token = torch.tensor([row[min(position, len(row) - 1)] for row in rows], device=self._device)
            gain = logits.float().log_softmax(-1).gather(1, token[:, None])[:, 0]
            inside = torch.tensor([position < len(row) for row in rows], device=self._device)
            totals = totals + torch.where(inside, gain, 0.0)
        scores: list[float] = totals.tolist()
        return scores

    def fork(self) -> Self:
        """The same conversations at the same point; what is read there is not read here."""
        other = type(self)(self.model, self.tokenizer, self.count)
        # States are never written in place: sharing them is safe.
        other._state, other._logits = self._state, self._logits
        return other

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _ready(self) -> tuple[ModelState, Tensor]:
        if self._state is None or self._logits is None:
            raise ValueError("nothing was fed yet: feed a text first")
        return self._state, self._logits


def _slices(count: int) -> list[slice]:
    return [slice(start, min(start + MAX_ROWS, count)) for start in range(0, count, MAX_ROWS)]
