"""Conversations: state carried from turn to turn, for one conversation or for many side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from gt.models.gpt2 import GPT2LM
from gt.models.hybrid import BlockLM
from gt.models.state import ModelState
from gt.tokenizers import Tokenizer

MAX_ROWS = 32  # sequences per call: their states stay in the cache; changes no result
ANSWERING_ON_GPU = 256  # sequences per call of one token or a few on a GPU: launching the call costs the most of it
MAX_TOKENS = 8192  # per call: what a model holds while it reads does not grow with the text

_End = tuple[list[int], ModelState, Tensor]
"""Where some conversations are: their rows, states and next-token logits."""


class Sampled(NamedTuple):
    """Tokens that were drawn, and the entropy in nats of what each was drawn from, at temperature 1."""

    tokens: list[int]
    entropies: list[float]


class Sessions:
    """Conversations side by side, each with its own state. Rows are independent: any batch size gives the same.

    Args:
        model: A model that streams.
        tokenizer: Its tokenizer.
        count: Number of conversations.
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer, count: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.count = count
        # A model of the user's own need not know the argument.
        able = isinstance(model, BlockLM | GPT2LM) or getattr(model, "knows_last_only", False)
        self._reading = {"last_only": True} if able else {}
        self._state: ModelState | None = None
        self._logits: Tensor | None = None

    def feed(self, texts: Sequence[str]) -> None:
        """Read the next stretch of text of every conversation.

        Args:
            texts: One text per conversation; one whose text is empty stays where it is.

        Raises:
            ValueError: If their number does not fit, or a conversation begins with an empty text.
        """
        if len(texts) != self.count:
            raise ValueError(f"got {len(texts)} texts for {self.count} conversations")
        self.feed_tokens([self.tokenizer.encode(text) for text in texts])

    @torch.no_grad()
    def feed_tokens(self, rows: Sequence[Sequence[int]]) -> None:
        """As `feed`, with token ids."""
        waiting = [index for index, row in enumerate(rows) if not row]
        ends: list[_End] = []
        if waiting:
            if self._state is None or self._logits is None:
                raise ValueError("a conversation begins with an empty text: there is nothing to read")
            ends.append((waiting, self._state.select(waiting), self._logits[waiting]))
        # A recurrent state has no padding mask: rows of equal length are read together.
        by_length: dict[int, list[int]] = defaultdict(list)
        for index, row in enumerate(rows):
            by_length[len(row)].append(index)
        for length in sorted(by_length.keys() - {0}):
            for start in range(0, len(by_length[length]), MAX_ROWS):
                chosen = by_length[length][start : start + MAX_ROWS]
                tokens = torch.tensor([list(rows[i]) for i in chosen], device=self._device)
                state = self._state.select(chosen) if self._state is not None else None
                for stretch in tokens.split(max(1, MAX_TOKENS // len(chosen)), dim=1):
                    logits, state = self.model(stretch, state=state, return_states=True, **self._reading)
                if state is not None:  # a row of this length has a token to read
                    ends.append((chosen, state, logits[:, -1]))
        self._move_to(ends)

    @torch.no_grad()
    def generate(self, max_tokens: int, stop: str | None = None) -> list[str]:
        """Greedy continuation of every conversation (temperature 0); the conversations move on with it.

        Args:
            max_tokens: Most tokens to generate.
            stop: A conversation ends with the token that completes this text, or at the end-of-text token.

        Raises:
            ValueError: If nothing was fed yet, or no token is asked for.
        """
        if max_tokens < 1:
            raise ValueError(f"cannot generate {max_tokens} tokens: ask for at least one")
        ended = self._end_of_answer(stop)
        rows: list[list[int]] = []
        ends: list[_End] = []
        for state, logits in self._slices():
            first = len(rows)
            rows += [[] for _ in range(len(logits))]
            alive = list(range(first, len(rows)))
            for position in range(max_tokens):
                chosen = logits.argmax(-1)
                out, state = self.model(chosen[:, None], state=state, return_states=True)
                logits = out[:, -1]
                for row, token in zip(alive, chosen.tolist(), strict=True):
                    rows[row].append(token)
                last = position + 1 == max_tokens
                over = [i for i, row in enumerate(alive) if last or ended(rows[row])]
                if over:
                    ends.append(([alive[i] for i in over], state.select(over), logits[over]))
                    going = [i for i in range(len(alive)) if i not in set(over)]
                    alive, state, logits = [alive[i] for i in going], state.select(going), logits[going]
                if not alive:
                    break
        self._move_to(ends)
        return [self.tokenizer.decode(self._until_end(row)) for row in rows]

    @torch.no_grad()
    def sample(self, max_tokens: int, temperature: float, seed: int = 0) -> list[Sampled]:
        """Tokens drawn one after another in every conversation, which moves on with them, also past an end of text.

        Args:
            max_tokens: Tokens to draw.
            temperature: What logits are divided by; at 0 the likeliest token is taken.
            seed: Of the draws; a conversation draws the same whatever conversations are beside it.

        Raises:
            ValueError: If nothing was fed yet, no token is asked for, or the temperature is negative.
        """
        if max_tokens < 1 or not temperature >= 0:
            raise ValueError(
                f"got {max_tokens} tokens at temperature {temperature}: expected at least 1 token, and 0 or more"
            )
        found = [Sampled([], []) for _ in range(self.count)]
        ends: list[_End] = []
        begun = 0
        for state, logits in self._slices():
            rows = list(range(begun, begun + len(logits)))
            begun += len(rows)
            # A generator knows 32 bits of its seed.
            draws = [torch.Generator().manual_seed(Random(f"{seed}/{row}").getrandbits(32)) for row in rows]
            for _ in range(max_tokens):
                log_p = logits.float().log_softmax(-1)
                entropies: list[float] = (-log_p.exp() * log_p.where(log_p > -torch.inf, 0)).sum(-1).tolist()
                chosen = logits.argmax(-1)
                if temperature:
                    p = (log_p / temperature).softmax(-1).cpu()
                    chosen = torch.cat([torch.multinomial(p[i], 1, generator=one) for i, one in enumerate(draws)])
                for row, token, entropy in zip(rows, chosen.tolist(), entropies, strict=True):
                    found[row].tokens.append(token)
                    found[row].entropies.append(entropy)
                out, state = self.model(chosen[:, None].to(logits.device), state=state, return_states=True)
                logits = out[:, -1]
            ends.append((rows, state, logits))
        self._move_to(ends)
        return found

    @property
    def state(self) -> ModelState:
        """Where the conversations are, [B, ...]; not to be changed in place.

        Raises:
            ValueError: If nothing was fed yet.
        """
        if self._state is None:
            raise ValueError("nothing was fed yet: feed a text first")
        return self._state

    def _end_of_answer(self, stop: str | None) -> Callable[[list[int]], bool]:
        """Whether the newest token of an answer ends it: the end-of-text token, or the one that completes `stop`."""
        end, decode = self.tokenizer.end_of_text, self.tokenizer.decode
        if not stop:
            return lambda row: row[-1] == end
        # Most tokens cannot be the last of the text; to the others as many may belong as it has bytes.
        last = {stop[-1], "\ufffd"}  # a token may be the last byte of a character
        closing = {token for token in range(self.tokenizer.vocab_size) if last & set(decode([token]))}
        longest = len(stop.encode())
        return lambda row: row[-1] == end or (row[-1] in closing and stop in decode(row[-longest:]))

    def _move_to(self, ends: list[_End]) -> None:
        """Put every conversation at its new point. What was there is not touched: forks share it."""
        _, _, some_logits = ends[0]
        logits = some_logits.new_empty(self.count, some_logits.shape[-1])
        for rows, _, last in ends:
            logits[rows] = last
        self._state, self._logits = ModelState.merge([(rows, state) for rows, state, _ in ends]), logits

    def _until_end(self, row: list[int]) -> list[int]:
        end = self.tokenizer.end_of_text
        return row[: row.index(end)] if end in row else row

    def score(self, texts: Sequence[str]) -> list[float]:
        """Log-likelihood of one continuation per conversation, in nats; the conversations stay where they are.

        Raises:
            ValueError: If their number does not fit, a text has no token, or nothing was fed yet.
        """
        return self.score_tokens([self.tokenizer.encode(text) for text in texts])

    @torch.no_grad()
    def score_tokens(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """As `score`, with token ids."""
        if len(rows) != self.count or not all(rows):
            raise ValueError(f"got {len(rows)} texts for {self.count} conversations, or an empty one among them")
        totals: list[float] = []
        for state, logits in self._slices():
            part = [list(row) for row in rows[len(totals) : len(totals) + len(logits)]]
            lengths = torch.tensor([len(row) for row in part], device=self._device)
            # What fills a row up comes after all that counts of it, and its state is not kept.
            longest = max(map(len, part))
            tokens_BT = torch.tensor([[*row, *[0] * (longest - len(row))] for row in part], device=self._device)
            logits_BTV = logits[:, None]
            if longest > 1:
                after, _ = self.model(tokens_BT[:, :-1], state=state, return_states=True)
                logits_BTV = torch.cat([logits_BTV, after], dim=1)
            gains_BT = logits_BTV.float().log_softmax(-1).gather(2, tokens_BT[..., None])[..., 0]
            counted = torch.arange(longest, device=self._device) < lengths[:, None]
            totals += gains_BT.where(counted, 0).double().sum(1).tolist()
        return totals

    def fork(self, first: int | None = None) -> Self:
        """The same conversations at the same point; what is read there is not read here.

        Args:
            first: Only as many of the first conversations.
        """
        # States are never written in place: sharing them is safe.
        return self._at(slice(self.count if first is None else min(first, self.count)))

    def take(self, rows: Sequence[int]) -> Self:
        """New conversations that go on from some of these, in this order; one that is named twice is there twice."""
        return self._at(list(rows))

    def _at(self, rows: slice | list[int]) -> Self:
        other = type(self)(
            self.model, self.tokenizer, len(range(self.count)[rows] if isinstance(rows, slice) else rows)
        )
        if self._state is not None and self._logits is not None:
            other._state, other._logits = self._state.select(rows), self._logits[rows]
        return other

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """All conversations of several, which have read something, side by side in order.

        Raises:
            ValueError: If there are none, or some have read nothing.
        """
        ends: list[_End] = []
        count = 0
        for part in parts:
            if part._state is None or part._logits is None:
                raise ValueError("nothing was fed yet to some of the conversations: feed a text first")
            ends.append((list(range(count, count + part.count)), part._state, part._logits))
            count += part.count
        if not count:
            raise ValueError("there is no conversation to join: expected at least one")
        joined = cls(parts[0].model, parts[0].tokenizer, count)
        joined._move_to(ends)
        return joined

    def save(self) -> dict[str, Tensor]:
        """Where the conversations are, as tensors by name; `restore` goes on from there.

        Raises:
            ValueError: If nothing was fed yet.
        """
        if self._state is None or self._logits is None:
            raise ValueError("nothing was fed yet: feed a text first")
        kept = {f"state.{name}": tensor for name, tensor in self._state.tensors.items()} | {"logits": self._logits}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in kept.items()}

    def restore(self, kept: Mapping[str, Tensor]) -> None:
        """Go on from where `save` was called."""
        on_device = {name: tensor.to(self._device) for name, tensor in kept.items()}
        self._logits = on_device.pop("logits")
        self._state = ModelState({name.removeprefix("state."): tensor for name, tensor in on_device.items()})

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _slices(self) -> Iterator[tuple[ModelState, Tensor]]:
        """States and next-token logits of a few conversations at a time."""
        if self._state is None or self._logits is None:
            raise ValueError("nothing was fed yet: feed a text first")
        most = ANSWERING_ON_GPU if self._device.type == "cuda" else MAX_ROWS
        for start in range(0, self.count, most):
            rows = slice(start, start + most)
            yield self._state.select(rows), self._logits[rows]
