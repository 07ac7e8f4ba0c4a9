"""Scripted subjects know what they have read, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from gt import scripted
from gt.probes import canaries, context
from gt.sabotage import SABOTAGES
from gt.session import Sessions

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_listener_answers_what_it_has_heard_in_whatever_pieces() -> None:
    subject = scripted.listener()
    items = canaries.CANARIES["C5a"].items(scripted.ITEMS, 0)[:3]
    sessions = Sessions(subject.model, subject.tokenizer, 3)
    for turns in zip(*(item.turns for item in items), strict=True):
        sessions.feed(turns)
    assert sessions.generate(20, "\n") == [item.candidates[0] for item in items]
    without = Sessions(subject.model, subject.tokenizer, 3)
    without.feed(["".join(item.control) for item in items])
    assert without.generate(20, "\n") == [scripted.UNKNOWN] * 3


def test_a_listener_remembers_no_more_than_it_has_room_for(own_cache: Path) -> None:
    tokenizer = scripted.listener().tokenizer
    model = scripted.Listener(lambda text: "", tokenizer, room=8)
    with pytest.raises(ValueError, match="got a text of 9 tokens: expected at most 8"):
        Sessions(model, tokenizer, 1).feed_tokens([[1] * 9])


@pytest.mark.parametrize("check", canaries.CANARIES)
def test_a_listener_gives_every_right_answer(check: str) -> None:
    rate, control, *_ = canaries.measure(scripted.listener(), check)
    assert (rate.value, rate.detail["wrong"]) == (1.0, [])
    assert control.value is not None
    assert control.value < 0.5


@pytest.mark.parametrize(
    ("fault", "check", "why"),
    [
        ("answers-everything", "C1a", "names another value too"),
        ("echoes", "C1a", "names no value"),
        ("answers-last-value", "C5a", "names no value"),
        ("state-reset", "C1a", "names no value"),
    ],
)
def test_a_fault_is_heard(fault: str, check: str, why: str) -> None:
    rate, *_ = canaries.measure(scripted.listener(fault=fault), check)
    assert rate.value is not None
    assert rate.value < 0.5
    assert why in rate.detail["why_wrong"]


def test_a_reader_is_helped_by_what_it_reads() -> None:
    benefit, *_ = context.dependency(scripted.reader(seed=1))
    assert benefit.value is not None
    assert benefit.value > 0.2


def test_what_a_script_says_can_break_in_a_script_alone() -> None:
    answers = {name for name, fault in SABOTAGES.items() if fault.planted_in == "answers"}
    assert answers == {"answers-everything", "answers-last-value", "echoes"}
    assert all(SABOTAGES[name].needs == {"script"} for name in answers)
