"""A scripted subject that holds conversations: its state is every token that it has read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from gt.models.state import ModelState
from gt.resources import fixtures_dir
from gt.tokenizers import Tokenizer

Reply = Callable[[str], str]
"""What is answered to all that was read."""

ROOM = 4096
"""Tokens that a listener can remember, if nothing else is said: all of a canary."""


@cache
def tokenizer() -> Tokenizer:
    """The tokenizer of the shipped checkpoint, which listeners read with."""
    return Tokenizer(fixtures_dir() / "checkpoints" / "gf-mh-3.5m" / "tokenizer.json")


class Listener(nn.Module):
    """Reads, and after "Assistant:" says what a script says.

    Args:
        reply: The script.
        room: Tokens that it can remember. The state has room for all of them from the start, as a model's has.
    """

    knows_last_only = True

    def __init__(self, reply: Reply, room: int = ROOM) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))
        self.reply, self.room = reply, room
        self._tokenizer = tokenizer()
        self._cue = self._tokenizer.encode("Assistant:")
        self._turn_end = self._tokenizer.encode("Okay.\n")[-1]
        self._scripted: dict[str, list[int]] = {}

    def forward(
        self, tokens_BT: Tensor, state: ModelState | None = None, return_states: bool = False, last_only: bool = False
    ) -> tuple[Tensor, ModelState]:
        """Logits [B, T, V] ([B, 1, V] with `last_only`), which are zeros where nobody is to answer, and the state.

        Raises:
            ValueError: If it has no room for the tokens.
        """
        B, T = tokens_BT.shape
        read = state["read"].clone() if state else torch.zeros(B, self.room, dtype=torch.int32)
        lengths = state["length"].clone() if state else torch.zeros(B, 1, dtype=torch.long)
        longest = int(lengths.max()) + T
        if longest > self.room:
            raise ValueError(
                f"got a text of {longest} tokens: expected at most {self.room}, what the listener remembers"
            )
        # A turn that is finished is not answered: most of a long conversation costs nothing.
        ended = len(self._cue) < T and bool((tokens_BT[:, -1] == self._turn_end).all())
        first = T if last_only else 1
        shape = (B, T - first + 1, self._tokenizer.vocab_size)
        logits_BTV = torch.zeros(1).expand(shape) if ended else torch.zeros(shape)
        for row, length in enumerate(lengths[:, 0].tolist()):
            end = length + T
            read[row, length:end] = tokens_BT[row]
            if ended:
                continue
            known = read[row, :end].tolist()
            for place in range(max(length + first, self._last_cue(known)), end + 1):
                logits_BTV[row, place - length - first, self._next(known[:place])] = 20.0
        return logits_BTV, ModelState({"read": read, "length": lengths + T})

    def _last_cue(self, known: list[int]) -> int:
        """Where the last cue ends; beyond the text where there is none."""
        size = len(self._cue)
        starts = (at for at in range(len(known) - size, -1, -1) if known[at : at + size] == self._cue)
        return next(starts, len(known)) + size

    def _next(self, read: list[int]) -> int:
        prompt, cue, said = self._tokenizer.decode(read).rpartition("Assistant:")
        scripted = self._scripted.get(prompt)
        if scripted is None:
            scripted = self._scripted[prompt] = self._tokenizer.encode(self.reply(prompt + cue))
        done = self._tokenizer.encode(said)
        going = scripted[: len(done)] == done and len(done) < len(scripted)
        return scripted[len(done)] if going else self._tokenizer.end_of_text or 0
