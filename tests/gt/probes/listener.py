"""Listeners that say what a test lets them say, as subjects of canaries, synthetic tasks and needles."""

from __future__ import annotations

from typing import Any

from gt import scripted
from gt.cache import Resumable
from gt.data.dialogues.content import ListTemplate, Template
from gt.scripted import Listener, Reply
from gt.scripted.conversations import every_asked

TOKENIZER = scripted.tokenizer()


def subject(reply: Reply, items: int = 80, controls: int = 40) -> Any:
    """A subject of `gt.probes.canaries` that answers as scripted."""
    sizes = {"canary_items": items, "canary_controls": controls}
    return scripted.subject(Listener(reply), sizes, tokenizer=TOKENIZER)


def finder(reply: Reply, corpus: Any, claimed: int = 256, longest: int | None = None) -> Any:
    """A subject of `gt.probes.needles` that answers as scripted; give it a cache of its own."""
    return scripted.subject(
        Listener(reply),
        {"niah_needles": 5, "niah_fact_rows": 2},
        tokenizer=TOKENIZER,
        corpus=corpus,
        claimed_context=claimed,
        longest_text=longest,
        resumable=lambda what, **key: Resumable(what, key, run_id="one", fresh=False),
    )


def asked(text: str) -> Template | ListTemplate | None:
    """The template whose question was asked last."""
    return next(iter(every_asked(text)), None)
