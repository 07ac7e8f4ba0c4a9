"""Scripted subjects know what they have read, and nothing else; checks see what breaks them."""

from __future__ import annotations

from typing import Any

import pytest

from gt import scripted
from gt.probes import canaries, context
from gt.probes.synthetic import SYNTHETIC
from gt.resources import fixtures_dir
from gt.sabotage import SABOTAGES
from gt.session import Sessions
from pytest_groundthink.checks import load_checks
from pytest_groundthink.proof.asked import probes

BOOK = load_checks(fixtures_dir() / "checks.yaml")
HEARD = (*canaries.CANARIES, *SYNTHETIC, "SPS")
"""Checks that only a listener passes, but for NIAH, which has tests of its own."""

FAULTS = {
    name: fault.caught_by for name, fault in SABOTAGES.items() if fault.caught_by in HEARD or fault.needs == {"script"}
}
pytestmark = pytest.mark.usefixtures("own_cache")


def judged(subject: Any, check: str) -> tuple[str, dict[str, Any], str]:
    """Status, measurements by name, reason, as `groundthink prove` finds them, of fewer conversations."""
    full = subject.size
    subject.size = lambda name: {"canary_items": 40, "canary_controls": 8}.get(name) or full(name)
    measurements = probes()[check](subject)
    status, reason, _ = BOOK.checks[check].bands["default"].judge(measurements, BOOK.checks[check].metrics)
    return str(status), {one.metric: one for one in measurements}, reason


def test_a_listener_answers_what_it_has_heard_in_whatever_pieces() -> None:
    subject = scripted.listener()
    items = canaries.CANARIES["C5a"].items(scripted.ITEMS, 0)[:3]
    sessions = Sessions(subject.model, subject.tokenizer, 3)
    for turns in zip(*(item.turns for item in items), strict=True):
        sessions.feed(turns)
    assert sessions.generate(20, "\n") == [f"{item.candidates[0]}.\n" for item in items]
    without = Sessions(subject.model, subject.tokenizer, 3)
    without.feed(["".join(item.control) for item in items])
    assert without.generate(20, "\n") == [scripted.UNKNOWN] * 3


def test_a_listener_remembers_no_more_than_it_has_room_for() -> None:
    model = scripted.Listener(lambda text: "", room=8)
    with pytest.raises(ValueError, match="got a text of 9 tokens: expected at most 8"):
        Sessions(model, scripted.tokenizer(), 1).feed_tokens([[1] * 9])


@pytest.mark.parametrize("check", HEARD)
def test_a_listener_gives_every_right_answer(check: str) -> None:
    status, found, reason = judged(scripted.listener(seed=1), check)
    assert (found["rate"].value, found["rate"].detail.get("wrong", [])) == (1.0, [])
    assert found["control_rate"].value == 0.0
    assert status in ("PASS", "WARN"), reason


def test_every_check_of_a_listener_has_a_fault() -> None:
    assert set(FAULTS.values()) == set(HEARD)
    assert {SABOTAGES[name].planted_in for name in FAULTS} == {"calls", "answers"}, "what a script can have"


@pytest.mark.parametrize("fault", FAULTS)
def test_the_check_that_is_meant_to_catches_a_fault(fault: str) -> None:
    status, found, reason = judged(scripted.listener(fault=fault), FAULTS[fault])
    assert status == "FAIL", reason
    assert found["rate"].value < 1 or found["interleaving_difference"].value > 0


@pytest.mark.parametrize(
    ("fault", "check", "why"),
    [
        ("answers-everything", "C1a", "names another value too"),
        ("echoes", "C1a", "names no value"),
        ("answers-last-value", "C5a", "names no value"),
        ("state-reset", "C1a", "names no value"),
        ("first-turn-alone", "C3c", "names another value"),
    ],
)
def test_a_fault_is_heard(fault: str, check: str, why: str) -> None:
    _, found, _ = judged(scripted.listener(fault=fault), check)
    assert found["rate"].value < 0.5
    assert why in found["rate"].detail["why_wrong"]


def test_a_reader_is_helped_by_what_it_reads() -> None:
    benefit, *_ = context.dependency(scripted.reader(seed=1))
    assert benefit.value is not None
    assert benefit.value > 0.2


def test_what_a_script_says_can_break_in_a_script_alone() -> None:
    answers = {name for name, fault in SABOTAGES.items() if fault.planted_in == "answers"}
    assert answers == {"answers-everything", "answers-last-value", "echoes"}
    assert all(SABOTAGES[name].needs == {"script"} for name in answers)
