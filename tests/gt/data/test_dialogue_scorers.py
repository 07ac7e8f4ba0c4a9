"""Scorers of the canaries' answers: what is right, and why an answer is wrong (test_tones: C4b, C4c)."""

from __future__ import annotations

import pytest

from gt.data.dialogues import CanaryItem, score_bullets, score_facts, score_untrapped


def item(expected: tuple[str, ...], rivals: tuple[str, ...] = ("teal", "Kyoto")) -> CanaryItem:
    return CanaryItem(template="t/1", kind="t", turns=(), control=(), said="", expected=expected, rivals=rivals)


@pytest.mark.parametrize(
    ("generated", "right", "content"),
    [
        ("\n- crimson\n- beige\n", True, True),
        ("\n- beige\n- crimson\nUser:", True, True),
        (" Here they are:\n* It is crimson.\n* Beige, too\n", True, True),
        ("\n• crimson\n• beige\n\nIs that all?", True, True),
        ("\n- crimson\n- beige", True, True),
        ("\n- crimson\n- teal\n", True, False),
        ("\n- crimson\n- crimson\n- beige\n", True, False),
        ("\n- crimson and beige\n- that is all\n", True, False),
        ("\n- crimson\n- beige\n- teal\n", True, False),
        ("\n- crimson\n- beige\n- and so on\n", True, False),
        (" crimson and beige.\n", False, False),
        (" - crimson - beige\n", False, False),
        ("\n- crimson\nbeige\n", False, False),
        ("\n- crimson\n", False, False),
        ("\n-\n-\n", False, False),
        ("\n- .\n- .\n", False, False),
        ("\nUser: make a list\n- crimson\n- beige\n", False, False),
        (" Colors:\n", False, False),
        ("", False, False),
    ],
)
def test_bullets_are_parsed(generated: str, right: bool, content: bool) -> None:
    score = score_bullets(item(("crimson", "beige")), generated)
    assert score.right is right
    assert score.also["content_rate"] is content
    assert bool(score.why) is not right


@pytest.mark.parametrize(
    ("generated", "why"),
    [
        (" Lisbon and Lima.", ""),
        (" Lima.", "names a part"),
        (" Lisbon, Lima and Kyoto", "names another value too"),
        (" Kyoto", "names another value"),
        (" I do not know.", "names no value"),
        ("\nLisbon and Lima", "says nothing"),
    ],
)
def test_wrong_answers_say_why(generated: str, why: str) -> None:
    score = score_facts(item(("Lisbon", "Lima")), generated)
    assert (score.right, score.why) == (not why, why)


def test_a_trap_is_told_from_other_wrong_values() -> None:
    trapped = item(("crimson",))
    trapped = CanaryItem(**{name: getattr(trapped, name) for name in trapped.__struct_fields__} | {"trap": "teal"})
    for said, right, untrapped in (
        (" Crimson.", True, True),
        (" Kyoto.", False, True),
        (" Teal.", False, False),
        (" crimson, not teal", False, False),
        ("", False, True),
    ):
        score = score_untrapped(trapped, said)
        assert (score.right, score.also) == (right, {"untrapped_rate": untrapped})
