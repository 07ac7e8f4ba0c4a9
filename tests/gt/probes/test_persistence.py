"""SPS draws recall against turns, reads the conversation once, and sees a memory that is too short."""

from __future__ import annotations

import pytest

from gt.data.dialogues import recall_items
from gt.measurement import Measurement
from gt.probes import persistence
from gt.probes.persistence import TURNS
from gt.resources import fixtures_dir
from gt.sabotage import plant
from gt.scripted.conversations import remember
from pytest_groundthink.checks import load_checks
from tests.gt.probes.listener import TOKENIZER, subject

CHECK = load_checks(fixtures_dir() / "checks.yaml").checks["SPS"]


def measured(fault: str | None = None) -> tuple[str, dict[str, Measurement]]:
    who = subject(remember, 20)
    if fault is not None:
        plant(fault, who.model)
    found = persistence.measure(who)
    assert who.kept == {}
    status, _, _ = CHECK.bands["default"].judge(found, CHECK.metrics)
    assert {one.metric for one in found} == set(CHECK.metrics)
    return str(status), {one.metric: one for one in found}


def test_a_listener_recalls_for_fifty_turns() -> None:
    status, found = measured()
    assert status == "PASS"
    assert (found["rate"].value, found["last_rate"].value, found["control_rate"].value) == (1.0, 1.0, 0.0)
    assert [found[name].n for name in ("rate", "last_rate", "control_rate")] == [20, 20, 20]
    curve = found["rate"].detail["curve"]
    assert [point["turns"] for point in curve] == list(TURNS)
    assert all(point["n"] == 20 and point["ci95"][0] < point["rate"] == point["ci95"][1] == 1.0 for point in curve)
    assert {len(own) for own in found["rate"].outcomes.values()} == {len(TURNS)}
    assert found["rate"].note.startswith("after 1: 100%, 3: 100%")


@pytest.mark.parametrize(("fault", "status", "held"), [("memory-84", "FAIL", 1), ("memory-224", "PASS", 3)])
def test_a_short_memory_shows_in_the_curve(fault: str, status: str, held: int) -> None:
    judged, found = measured(fault)
    assert judged == status
    curve = found["rate"].detail["curve"]
    assert [point["rate"] for point in curve] == [1.0] * held + [0.0] * (len(TURNS) - held)
    assert found["rate"].value == pytest.approx(held / len(TURNS))
    assert found["last_rate"].value == 0.0
    assert not curve[0]["why_wrong"]
    assert sum(curve[-1]["why_wrong"].values()) == 20


def test_fifty_turns_cost_fifty_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    encode = TOKENIZER.encode

    def counted(text: str) -> list[int]:
        nonlocal read
        read += text.count("User: ")
        return encode(text)

    who = subject(lambda text: "", 10, 2)
    monkeypatch.setattr(TOKENIZER, "encode", counted)
    persistence.measure(who)
    turns = 10 * (1 + TURNS[-1] + len(TURNS)) + 2 * 3
    assert turns - 2 <= read <= turns, "controls may begin alike"
    assert turns < 0.6 * sum(len(item.turns) for depth in TURNS for item in recall_items(depth, 10))
