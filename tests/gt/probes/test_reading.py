"""Reading conversations together, or on from where an earlier check stopped, changes no answer and reads less."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gt import registry
from gt.data.dialogues import recall_items, three_fact_items
from gt.measurement import Unmeasurable
from gt.models.build import build_model
from gt.probes.canaries import CANARIES, measure
from gt.probes.reading import read
from gt.session import Sessions
from tests.gt.probes.listener import TOKENIZER


class Counting:
    """A tokenizer that counts what it was asked to encode: all that a model reads."""

    def __init__(self) -> None:
        self.tokens = 0

    def encode(self, text: str) -> list[int]:
        found = TOKENIZER.encode(text)
        self.tokens += len(found)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(TOKENIZER, name)


def subject(model: str = "GF-MH", items: int = 5, longest: int | None = None) -> Any:
    """An untrained model, as large as what it says must depend on what it read."""
    torch.manual_seed(5)
    made = build_model(registry.resolve(model, "0.3M").config(TOKENIZER.vocab_size)).eval()
    with torch.no_grad():
        made.get_parameter("embedding.weight").mul_(20)
    return SimpleNamespace(
        model=made,
        tokenizer=Counting(),
        seed=0,
        size={"canary_items": items, "canary_controls": 3}.__getitem__,
        progress=lambda done, total, note: None,
        longest_text=longest,
        kept={},
    )


def logits(sessions: Sessions) -> torch.Tensor:
    return sessions.save()["logits"]


def alone(who: Any, turns: tuple[str, ...]) -> torch.Tensor:
    """One conversation read by itself."""
    sessions = Sessions(who.model, TOKENIZER, 1)
    for turn in turns:
        sessions.feed([turn])
    return logits(sessions)[0]


@pytest.mark.parametrize("model", ["GF-MH", "GPT2"])
def test_every_conversation_is_as_if_it_were_alone(model: str) -> None:
    who = subject(model)
    conversations = [
        ("User: a\nAssistant: b\n", "User: c\nAssistant: d\n", "User: e?\nAssistant:"),
        ("User: a\nAssistant: b\n", "User: e?\nAssistant:"),
        ("User: a\nAssistant: b\n", "User: c\nAssistant: d\n", "User: f?\nAssistant:"),
        ("User: g\nAssistant: b\n", "User: c\nAssistant: d\n", "User: e?\nAssistant:"),
        ("User: a\nAssistant: b\n", "User: e?\nAssistant:"),
    ]
    found = logits(read(who, conversations, room=1))
    for row, turns in zip(found, conversations, strict=True):
        assert torch.allclose(row, alone(who, turns), atol=1e-4)
    assert torch.allclose(found[1], found[4], atol=1e-4)
    assert not any(torch.allclose(found[0], other, atol=1e-4) for other in found[1:])


def test_long_conversations_share_what_they_begin_with() -> None:
    who = subject()
    items = three_fact_items(400, 80, tokens=lambda text: len(TOKENIZER.encode(text)))
    templates = sorted({item.template for item in items})[:3]
    items = [item for item in items if item.template in templates]
    assert len(items) == 6
    found = logits(read(who, [item.turns for item in items], room=32))
    every = sum(len(TOKENIZER.encode(turn)) for item in items for turn in item.turns)
    assert who.tokenizer.tokens < 0.85 * every
    for row, item in zip(found[:3], items, strict=False):
        assert torch.allclose(row, alone(who, item.turns), atol=1e-4)


def test_going_on_from_what_was_kept_gives_the_same_bits() -> None:
    """C1a, C1b-lite, C1b and C1c ask for the same facts at growing distances."""
    whole = subject()
    for fillers in (0, 3):
        conversations = [item.turns for item in recall_items(fillers, 5)]
        before = whole.tokenizer.tokens
        together = read(whole, conversations, room=32, keep=True)
        went_on = whole.tokenizer.tokens - before
        apart = subject()
        assert torch.equal(logits(together), logits(read(apart, conversations, room=32)))
        for name, tensor in read(apart, conversations, room=32).save().items():
            assert torch.equal(together.save()[name], tensor), name
        if fillers:
            assert went_on < 0.8 * apart.tokenizer.tokens / 2


def test_checks_in_a_row_measure_what_each_measures_alone() -> None:
    row, least = subject(items=4), 0
    for check in ("C1a", "C1b", "C1c"):
        single = subject(items=4)
        assert measure(row, check) == measure(single, check)
        least += single.tokenizer.tokens
    assert row.tokenizer.tokens < 0.85 * least
    assert row.kept == {}, "after the last of them nothing is held"


def test_other_conversations_begin_anew() -> None:
    who = subject()
    first = [item.turns for item in recall_items(3, 5)]
    read(who, first, room=32, keep=True)
    shorter = [item.turns for item in recall_items(0, 5)]
    assert torch.equal(logits(read(who, shorter, room=32)), logits(read(subject(), shorter, room=32)))
    other = [item.turns for item in recall_items(3, 5, seed=1)]
    read(who, first, room=32, keep=True)
    assert torch.equal(logits(read(who, other, room=32)), logits(read(subject(), other, room=32)))
    assert who.kept == {}


def test_what_is_asked_leaves_no_trace_in_what_was_kept() -> None:
    who = subject()
    conversations = [item.turns for item in recall_items(0, 5)]
    for _ in range(2):
        asked = read(who, conversations, room=32, keep=True)
        asked.generate(4)
    assert torch.equal(logits(read(who, conversations, room=32)), logits(read(subject(), conversations, room=32)))


def test_a_conversation_that_is_too_long_for_the_model_is_not_measured() -> None:
    who = subject("GPT2", longest=512)
    with pytest.raises(Unmeasurable, match=r"512 learned positions, needed are [\d,]+: measure a larger scale"):
        measure(who, "C2a")
    assert measure(who, "C1a")[0].n == 5


def test_only_canaries_that_others_go_on_from_are_kept() -> None:
    assert {check for check, canary in CANARIES.items() if canary.leads_on} == {"C1a", "C1b-lite", "C1b"}
