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


class _Block(NamedTuple):
    """Where conversations that were read together are: states and next-token logits, not to be changed in place."""

    state: ModelState
    logits: Tensor


_End = tuple[Sequence[int], _Block]
"""Some conversations, and where they are."""


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
        # The block and the row in it of each conversation: going on from some of them copies no state.
        self._places: list[tuple[_Block, int]] = []

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
        if not self._places and not all(rows):
            raise ValueError("a conversation begins with an empty text: there is nothing to read")
        # A recurrent state has no padding mask: rows of equal length are read together.
        by_length: dict[int, list[int]] = defaultdict(list)
        for index, row in enumerate(rows):
            by_length[len(row)].append(index)
        ends: list[_End] = []
        for length in sorted(by_length.keys() - {0}):
            for start in range(0, len(by_length[length]), MAX_ROWS):
                chosen = by_length[length][start : start + MAX_ROWS]
                tokens = torch.tensor([list(rows[i]) for i in chosen], device=self._device)
                state = self._gather(chosen).state if self._places else None
                for stretch in tokens.split(max(1, MAX_TOKENS // len(chosen)), dim=1):
                    logits, state = self.model(stretch, state=state, return_states=True, **self._reading)
                if state is not None:  # a row of this length has a token to read
                    ends.append((chosen, _Block(state, logits[:, -1].clone())))
        self._move_to(ends)

    def generate(self, max_tokens: int, stop: str | None = None) -> list[str]:
        """Greedy continuation of every conversation (temperature 0); the conversations move on with it.

        Args:
            max_tokens: Most tokens to generate.
            stop: A conversation ends with the token that completes this text, or at the end-of-text token.

        Raises:
            ValueError: If nothing was fed yet, or no token is asked for.
        """
        rows, ends = self._generate(max_tokens, stop, move_on=True)
        self._move_to(ends)
        return rows

    def answer(self, max_tokens: int, stop: str | None = None) -> list[str]:
        """As `generate`, but the conversations stay where they are: the states after the answers are not kept."""
        return self._generate(max_tokens, stop, move_on=False)[0]

    @torch.no_grad()
    def _generate(self, max_tokens: int, stop: str | None, *, move_on: bool) -> tuple[list[str], list[_End]]:
        """What conversations generate, and if they move on, where they then are."""
        if max_tokens < 1:
            raise ValueError(f"cannot generate {max_tokens} tokens: ask for at least one")
        ended = self._end_of_answer(stop)
        rows: list[list[int]] = [[] for _ in range(self.count)]
        ends: list[_End] = []
        for beside, (state, logits) in self._batches():
            alive = dict(enumerate(beside))  # place in the batch -> conversation
            for position in range(max_tokens):
                chosen = logits.argmax(-1)
                out, state = self.model(chosen[:, None], state=state, return_states=True)
                logits = out[:, -1]
                tokens = chosen.tolist()
                for place, row in alive.items():
                    rows[row].append(tokens[place])
                last = position + 1 == max_tokens
                over = [place for place, row in alive.items() if last or ended(rows[row])]
                if over and move_on:
                    ends.append(([alive[place] for place in over], _Block(state.select(over), logits[over])))
                for place in over:
                    del alive[place]
                if not alive:
                    break
                if 2 * len(alive) <= len(tokens):  # to leave out a few would cost more than to compute them
                    state, logits = state.select(list(alive)), logits[list(alive)]
                    alive = dict(enumerate(alive.values()))
        return [self.tokenizer.decode(self._until_end(row)) for row in rows], ends

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
        for rows, (state, logits) in self._batches():
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
            ends.append((rows, _Block(state, logits)))
        self._move_to(ends)
        return found

    @property
    def state(self) -> ModelState:
        """Where the conversations are, [B, ...]; not to be changed in place.

        Raises:
            ValueError: If nothing was fed yet.
        """
        return self._all().state

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

    def _move_to(self, ends: Sequence[_End]) -> None:
        """Put conversations at their new points. What was there is not touched: forks share it."""
        places = dict(enumerate(self._places))
        for rows, block in ends:
            places.update(zip(rows, ((block, index) for index in range(len(rows))), strict=True))
        self._places = [places[row] for row in range(self.count)]

    def _gather(self, rows: Sequence[int]) -> _Block:
        """Where some conversations are, in this order."""
        places = [self._places[row] for row in rows]
        block = places[0][0]
        whole = list(range(len(block.logits)))
        if all(other is block for other, _ in places) and [index for _, index in places] == whole:
            return block  # as it is: nothing is copied
        logits = torch.stack([block.logits[index] for block, index in places])
        return _Block(ModelState.gather([(block.state, index) for block, index in places]), logits)

    def _all(self) -> _Block:
        """Where all conversations are, in their order."""
        if not self._places:
            raise ValueError("nothing was fed yet: feed a text first")
        block = self._gather(range(self.count))
        self._move_to([(range(self.count), block)])
        return block

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
        totals = [0.0] * self.count
        for chosen, (state, logits) in self._batches():
            part = [list(rows[index]) for index in chosen]
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
            for index, total in zip(chosen, gains_BT.where(counted, 0).double().sum(1).tolist(), strict=True):
                totals[index] = total
        return totals

    def fork(self, first: int | None = None) -> Self:
        """The same conversations at the same point; what is read there is not read here.

        Args:
            first: Only as many of the first conversations.
        """
        return self.take(range(self.count if first is None else min(first, self.count)))

    def take(self, rows: Sequence[int]) -> Self:
        """New conversations that go on from some of these, in this order; one that is named twice is there twice."""
        # States are never written in place: sharing them is safe.
        return self._at(len(rows), [self._places[row] for row in rows] if self._places else [])

    def _at(self, count: int, places: list[tuple[_Block, int]]) -> Self:
        other = type(self)(self.model, self.tokenizer, count)
        other._places = places
        return other

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """All conversations of several, which have read something, side by side in order.

        Raises:
            ValueError: If there are none, or some have read nothing.
        """
        if not any(part.count for part in parts):
            raise ValueError("there is no conversation to join: expected at least one")
        if not all(part._places for part in parts):
            raise ValueError("nothing was fed yet to some of the conversations: feed a text first")
        places = [place for part in parts for place in part._places]
        return parts[0]._at(len(places), places)

    def save(self) -> dict[str, Tensor]:
        """Where the conversations are, as tensors by name; `restore` goes on from there.

        Raises:
            ValueError: If nothing was fed yet.
        """
        state, logits = self._all()
        kept = {f"state.{name}": tensor for name, tensor in state.tensors.items()} | {"logits": logits}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in kept.items()}

    def restore(self, kept: Mapping[str, Tensor]) -> None:
        """Go on from where `save` was called."""
        on_device = {name: tensor.to(self._device) for name, tensor in kept.items()}
        logits = on_device.pop("logits")
        state = ModelState({name.removeprefix("state."): tensor for name, tensor in on_device.items()})
        self._move_to([(range(self.count), _Block(state, logits))])

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _batches(self) -> Iterator[tuple[list[int], _Block]]:
        """Some conversations at a time, and where they are; those together that were read together."""
        if not self._places:
            raise ValueError("nothing was fed yet: feed a text first")
        together: dict[int, list[int]] = defaultdict(list)
        for row, (block, _) in enumerate(self._places):
            together[id(block)].append(row)
        # Full batches first: they are taken as they are.
        rows = [row for own in sorted(together.values(), key=len, reverse=True) for row in own]
        most = ANSWERING_ON_GPU if self._device.type == "cuda" else MAX_ROWS
        for start in range(0, self.count, most):
            chosen = rows[start : start + most]
            block = self._gather(chosen)
            self._move_to([(chosen, block)])  # put together once for all that is asked here
            yield chosen, block
