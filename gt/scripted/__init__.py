"""Subjects without a network that can do what only long training teaches: checks of ability are proven with them.

They have a model's interface and a state that passes from call to call, so that what breaks a model's state breaks
theirs. They stand for a healthy model where no model that is trained in a minute passes; whoever shows what came of
them says so.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import nn

from gt.cache import Resumable
from gt.data.corpus import python_reference
from gt.sabotage import clear, plant
from gt.scripted.conversations import remember
from gt.scripted.listener import Listener, Reply, tokenizer
from gt.scripted.needles import find_needle
from gt.scripted.reader import Reader, topics
from gt.scripted.tasks import solve
from gt.scripted.wording import UNKNOWN
from gt.training.stream import TokenStream

__all__ = ["UNKNOWN", "Listener", "Reader", "Reply", "answer", "listener", "reader", "subject", "tokenizer", "topics"]

LONG_ROOM = 24_576
"""Tokens that the listener remembers: NIAH's longest text and its answer."""

ITEMS, CONTROLS = 80, 40
"""Conversations of a canary or a synthetic task."""

CAPABILITIES = frozenset(
    {"states", "streaming", "generation", "checkpoint", "tokenizer", "subword_tokenizer", "training_log", "script"}
)


def answer(text: str) -> str:
    """The right answer to the last question of a canary, a synthetic task or a needle, from what was read alone."""
    scripts = (find_needle, solve, remember)
    return next((found for script in scripts if (found := script(text)) != UNKNOWN), UNKNOWN)


def listener(seed: int = 0, fault: str | None = None) -> Any:
    """A subject of the canaries, the synthetic tasks and NIAH that remembers all it reads and answers from it.

    Args:
        seed: Of the conversations.
        fault: Name of a fault to plant.
    """
    sizes = {"canary_items": ITEMS, "canary_controls": CONTROLS, "niah_needles": 5, "niah_fact_rows": 2}
    model = Listener(answer, LONG_ROOM)
    return subject(model, sizes, seed, fault, tokenizer=tokenizer(), corpus=python_reference())


def reader(seed: int = 0, fault: str | None = None) -> Any:
    """A subject of LRD whose text has topics, and which learns the words of a topic as it reads.

    Args:
        seed: Of the text.
        fault: Name of a fault to plant.
    """
    # LRD-1M: what was read 120,000 tokens ago is forgotten, as a state forgets.
    sizes = {"lrd_blocks": 12, "stream_tokens": 120_000}
    texts = {"valid_tokens": TokenStream(topics(30_000, 2 * seed + 1), 2),
             "train_tokens": TokenStream(topics(60_000, 2 * seed + 2), 2)}  # fmt: skip
    return subject(Reader(0.99), sizes, seed, fault, **texts)


def subject(model: nn.Module, sizes: dict[str, int], seed: int = 0, fault: str | None = None, **more: Any) -> Any:
    """What a probe asks a subject for, of a scripted model.

    Args:
        model: The script.
        sizes: Of the probes, by name.
        seed: Of what it is asked.
        fault: Name of a fault to plant.
        more: Further attributes, or others than it would have.
    """
    clear()
    if fault is not None:
        plant(fault, model)

    def resumable(what: str, **key: Any) -> Resumable:
        of = {"scripted": type(model).__name__, "seed": seed, "fault": fault, **key}
        return Resumable(what, of, run_id="", fresh=True)

    own: dict[str, Any] = {
        "model": model,
        "tokenizer": None,
        "seed": seed,
        "size": sizes.__getitem__,
        "progress": lambda done, total, note: None,
        "claimed_context": 256,
        "longest_text": None,
        "capabilities": CAPABILITIES,
        "resumable": resumable,
        "kept": {},
    }
    return SimpleNamespace(**(own | more))
