"""Synthetic tasks pass what solves them from the text, and fail what does not."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from gt.data.dialogues import canary_data, synthetic_data
from gt.data.dialogues.content import Wording
from gt.probes.synthetic import SYNTHETIC, measure
from gt.resources import fixtures_dir
from gt.scripted import Reply
from gt.scripted.tasks import solve
from pytest_groundthink.checks import load_checks
from tests.gt.probes.listener import TOKENIZER, subject

BOOK = load_checks(fixtures_dir() / "checks.yaml")
ENOUGH, FEW = 24, 8
"""Items to pass with, and to fail with."""

WORDS = sorted((word for own in canary_data().kinds.values() for word in own), key=lambda word: -len(word))
ONE = f"(?:{'|'.join(map(re.escape, WORDS))})"


def judged(who: Any, check: str) -> tuple[str, dict[str, Any], str]:
    """Status, measurements by name, reason."""
    measurements = measure(who, check)
    status, reason, _ = BOOK.checks[check].bands["default"].judge(measurements, BOOK.checks[check].metrics)
    return str(status), {one.metric: one for one in measurements}, reason


@pytest.mark.parametrize("check", SYNTHETIC)
def test_a_solver_passes_and_a_control_does_not(check: str) -> None:
    status, found, reason = judged(subject(solve, ENOUGH, FEW), check)
    assert status == "PASS", (reason, found["rate"].detail["wrong"][:3])
    assert found["rate"].value == found["likelihood_rank_rate"].value == 1.0
    assert found["control_rate"].value == 0.0
    assert set(found) == set(BOOK.checks[check].metrics)
    assert [found[name].n for name in ("rate", "control_rate", "likelihood_rank_rate")] == [ENOUGH, FEW, FEW]
    assert len(found["rate"].outcomes) == ENOUGH
    assert "without" in reason


def last_words(text: str) -> str:
    """The words that were read last, whatever is asked."""
    before = text.rpartition("User: ")[0]
    return f" {', '.join(re.findall(ONE, before)[-3:])}.\n"


def every_word(text: str) -> str:
    return f" {', '.join(re.findall(ONE, text))}.\n"


def echo(text: str) -> str:
    return " " + text.rpartition("User: ")[2]


def nothing(text: str) -> str:
    return "\n"


# A single needle is all there is to name: who names it whatever is asked is right.
@pytest.mark.parametrize(
    ("check", "reply"),
    [
        (check, reply)
        for check in SYNTHETIC
        for reply in (last_words, every_word, echo, nothing)
        if not (check == "RULER-S" and reply in (last_words, every_word))
    ],
)
def test_what_reads_without_understanding_fails(check: str, reply: Reply) -> None:
    status, found, reason = judged(subject(reply, FEW, FEW), check)
    assert status == "FAIL", reason
    assert found["rate"].detail["wrong"]


def test_a_part_or_another_order_is_wrong() -> None:
    def reversed_order(text: str) -> str:
        return f" {', '.join(reversed(re.findall(ONE, solve(text))))}.\n"

    def first_only(text: str) -> str:
        return f" {', '.join(re.findall(ONE, solve(text))[:1])}.\n"

    for check, reply, why in (
        ("SelCopy", reversed_order, "names them in another order"),
        ("RULER-MV", first_only, "names a part"),
        ("RULER-VT", first_only, "names a part"),
    ):
        status, found, _ = judged(subject(reply, FEW, FEW), check)
        assert status == "FAIL"
        assert max(found["rate"].detail["why_wrong"], key=found["rate"].detail["why_wrong"].get) == why
    assert judged(subject(reversed_order, FEW, FEW), "RULER-MV")[1]["rate"].value == 1.0


@pytest.mark.parametrize(
    ("check", "chance"),
    [
        ("MQAR", 1 / 8),
        ("SelCopy", 1 / math.perm(14, 4)),
        ("ICR", 1 / 6),
        ("RULER-S", 1 / 16),
        ("RULER-MK", 1 / 4),
        ("RULER-MV", 1 / math.comb(6, 3)),
        ("RULER-VT", 1 / math.comb(6, 3)),
        ("RULER-CWE", 1 / math.comb(12, 2)),
    ],
)
def test_chance_is_a_guess_among_what_could_be_meant(check: str, chance: float) -> None:
    _, found, reason = judged(subject(nothing, FEW, FEW), check)
    assert found["rate"].chance == pytest.approx(chance)
    assert found["likelihood_rank_rate"].chance == 0.25
    assert "chance" in reason


@pytest.mark.parametrize("check", SYNTHETIC)
def test_items_are_short_balanced_and_different(check: str) -> None:
    items = SYNTHETIC[check].items(400, 0)
    assert items == SYNTHETIC[check].items(400, 0)
    assert items[:40] != SYNTHETIC[check].items(40, 1)
    assert len({item.turns for item in items}) == 400
    counts = [sum(item.template == name for item in items) for name in {item.template for item in items}]
    assert counts == [10] * 40
    for item in items:
        text = "".join(item.turns)
        answers = [len(TOKENIZER.encode(one)) for one in item.candidates]
        assert 64 <= len(TOKENIZER.encode(text)) + max(answers) <= 512
        assert max(answers) + 4 <= SYNTHETIC[check].max_tokens
        assert len(set(item.candidates)) == 4
        assert not set(item.expected) & set(item.rivals)
        assert "{" not in text + "".join(item.control)
        assert item.turns != item.control
        assert item.turns[-1].endswith("\nAssistant:")


@pytest.mark.parametrize("check", sorted({*SYNTHETIC} - {"SelCopy", "RULER-CWE", "RULER-FWE", "RULER-VT"}))
def test_a_control_lacks_what_is_expected(check: str) -> None:
    """Where the answer is a word of the text; of the others the control lacks a link, repetition or the sort."""
    for item in SYNTHETIC[check].items(80, 0):
        assert all(re.search(rf"\b{re.escape(word)}\b", "".join(item.turns)) for word in item.expected)
        assert not all(re.search(rf"\b{re.escape(word)}\b", "".join(item.control)) for word in item.expected)


def test_every_wording_is_kept_out_of_training() -> None:
    from gt.data.conversations.split import evaluation_split

    split = evaluation_split()
    data = synthetic_data()
    every = [one for name in data.__struct_fields__ for one in getattr(data, name) if isinstance(one, Wording)]
    assert len(every) == 28
    assert every == list(data.wordings)
    for wording in synthetic_data().wordings:
        for text in (*wording.statements, *wording.questions):
            assert split.is_like(re.sub(r"\{values?\}", "zebra", text)), text
