"""Subjects without a network that can do what only long training teaches: checks of ability are proven with them.

They have a model's interface and a state that passes from call to call, so that what breaks a model's state breaks
theirs. They stand for a healthy model where no model that is trained in a minute passes; whoever shows what came of
them says so.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from gt.cache import Resumable
from gt.data.corpus import python_reference
from gt.data.dialogues import needle_data
from gt.models.state import ModelState
from gt.resources import fixtures_dir
from gt.sabotage import clear, plant
from gt.tokenizers import Tokenizer
from gt.training.stream import TokenStream

ROOM = 24_576
"""Tokens that a listener can remember: NIAH's longest text."""

ITEMS, CONTROLS = 80, 40
"""Conversations of a canary."""

UNKNOWN = " I do not know.\n"

CAPABILITIES = frozenset(
    {"states", "streaming", "generation", "checkpoint", "tokenizer", "subword_tokenizer", "training_log", "script"}
)

WORDS, VOCAB, TOPIC = 32, 256, 3000
"""A reader's text keeps to 32 of 256 words for 3,000 tokens."""


class Listener(nn.Module):
    """Reads, and after "Assistant:" says what a script says; its state is every token read.

    Args:
        reply: What is answered to all that was read.
        tokenizer: Of the text.
        room: Tokens that it can remember.
    """

    def __init__(self, reply: Callable[[str], str], tokenizer: Tokenizer, room: int = ROOM) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))
        self.reply, self.tokenizer, self.room = reply, tokenizer, room
        self._cue = tokenizer.encode("Assistant:")
        self._scripted: dict[str, list[int]] = {}

    def forward(
        self, tokens_BT: Tensor, state: ModelState | None = None, return_states: bool = False
    ) -> tuple[Tensor, ModelState]:
        """Logits [B, T, V], which are zeros where nobody is to answer, and the state."""
        B, T = tokens_BT.shape
        heard = state["read"].clone() if state else torch.zeros(B, 0, dtype=torch.long)
        lengths = state["length"].clone() if state else torch.zeros(B, 1, dtype=torch.long)
        longest = int(lengths.max()) + T
        if longest > self.room:
            raise ValueError(
                f"got a text of {longest} tokens: expected at most {self.room}, what the listener remembers"
            )
        read = torch.zeros(B, longest, dtype=torch.long)
        kept = min(heard.shape[1], longest)
        read[:, :kept] = heard[:, :kept]
        logits_BTV = torch.zeros(B, T, self.tokenizer.vocab_size)
        for row, length in enumerate(lengths[:, 0].tolist()):
            end = length + T
            read[row, length:end] = tokens_BT[row]
            known = read[row, :end].tolist()
            cued = self._last_cue(known)
            for place in range(max(length + 1, cued), end + 1):
                logits_BTV[row, place - length - 1, self._next(known[:place])] = 20.0
        return logits_BTV, ModelState({"read": read, "length": lengths + T})

    def _last_cue(self, known: list[int]) -> int:
        """Where the last cue ends; beyond the text where there is none."""
        size = len(self._cue)
        starts = (at for at in range(len(known) - size, -1, -1) if known[at : at + size] == self._cue)
        return next(starts, len(known)) + size

    def _next(self, read: list[int]) -> int:
        prompt, cue, said = self.tokenizer.decode(read).rpartition("Assistant:")
        scripted = self._scripted.get(prompt)
        if scripted is None:
            scripted = self._scripted[prompt] = self.tokenizer.encode(self.reply(prompt + cue))
        done = self.tokenizer.encode(said)
        going = scripted[: len(done)] == done and len(done) < len(scripted)
        return scripted[len(done)] if going else self.tokenizer.end_of_text or 0


class Reader(nn.Module):
    """A cache model (Kuhn and De Mori 1990): it predicts tokens by decaying counts of what it has read, its state.

    Args:
        decay: Of a count with every token.
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))
        self.decay = decay

    def forward(
        self, tokens_BT: Tensor, state: ModelState | None = None, return_states: bool = False
    ) -> tuple[Tensor, ModelState]:
        """Logits [B, T, 256] and the state."""
        counts = state["counts"] if state else torch.zeros(len(tokens_BT), 1, VOCAB)
        logits = []
        for piece in tokens_BT.split(256, dim=1):
            T = piece.shape[1]
            read = torch.nn.functional.one_hot(piece, VOCAB).float()
            ages = torch.arange(T)[:, None] - torch.arange(T)
            kept = torch.where(ages >= 0, self.decay ** ages.clamp(min=0), 0.0)
            after = kept @ read + self.decay ** torch.arange(1, T + 1)[None, :, None] * counts
            counts = after[:, -1:]
            logits.append((after + 0.05).log())
        return torch.cat(logits, dim=1), ModelState({"counts": counts})


def listener(seed: int = 0, fault: str | None = None) -> Any:
    """A subject of the canaries and of NIAH that remembers all it reads and knows every right answer.

    To a conversation of a canary it answers that item's right candidate if the conversation is what it remembers, word
    for word, and otherwise that it does not know; of a haystack it names the code that is there.

    Args:
        seed: Of the conversations.
        fault: Name of a fault to plant.
    """
    from gt.probes.canaries import CANARIES

    answers: dict[str, str] = {}
    for canary in CANARIES.values():
        for item in canary.items(ITEMS, seed):
            answers["".join(item.turns)] = item.candidates[0]
    tokenizer = Tokenizer(Path(fixtures_dir()) / "checkpoints" / "gf-mh-3.5m" / "tokenizer.json")
    model = Listener(lambda text: answers.get(text) or _code(text), tokenizer)
    sizes = {"canary_items": ITEMS, "canary_controls": CONTROLS, "niah_needles": 5, "niah_fact_rows": 2}
    return _subject(model, tokenizer, seed, fault, sizes, corpus=python_reference())


def reader(seed: int = 0, fault: str | None = None) -> Any:
    """A subject of LRD whose text has topics, and which learns the words of a topic as it reads.

    Args:
        seed: Of the text.
        fault: Name of a fault to plant.
    """
    sizes = {"lrd_blocks": 12, "stream_tokens": 120_000}
    # LRD-1M: what was read 120,000 tokens ago is forgotten, as a state forgets.
    texts = {"valid_tokens": TokenStream(_topics(30_000, 2 * seed + 1), 2),
             "train_tokens": TokenStream(_topics(60_000, 2 * seed + 2), 2)}  # fmt: skip
    return _subject(Reader(0.99), None, seed, fault, sizes, **texts)


def _subject(model: nn.Module, tokenizer: Any, seed: int, fault: str | None, sizes: dict[str, int], **more: Any) -> Any:
    clear()
    if fault is not None:
        plant(fault, model)

    def resumable(what: str, **key: Any) -> Resumable:
        of = {"scripted": type(model).__name__, "seed": seed, "fault": fault, **key}
        return Resumable(what, of, run_id="", fresh=True)

    return SimpleNamespace(
        model=model,
        tokenizer=tokenizer,
        seed=seed,
        size=sizes.__getitem__,
        progress=lambda done, total, note: None,
        claimed_context=256,
        longest_text=None,
        capabilities=CAPABILITIES,
        resumable=resumable,
        **more,
    )


def _code(text: str) -> str:
    """The code that was hidden under the key that is asked for."""
    question = text.rpartition("User: ")[2].removesuffix("\nAssistant:")
    statement = _statements().get(question)
    found = re.search(statement, text) if statement else None
    return f" {found[1]}.\n" if found else UNKNOWN


@cache
def _statements() -> dict[str, str]:
    """What says a code, as a pattern, by the question for it."""
    return {
        key.question: re.escape(key.statement).replace(re.escape("{value}"), r"(\S+?)") for key in needle_data().keys
    }


def _topics(count: int, seed: int) -> list[int]:
    draw = random.Random(seed)
    found: list[int] = []
    while len(found) < count:
        words = draw.sample(range(VOCAB), WORDS)
        found += draw.choices(words, k=TOPIC)
    return found[:count]
