"""Deterministic scorers: is an answer right, and if not, why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from gt.data.dialogues.items import CanaryItem

SPEAKER = re.compile(r"<\||\b(?:User|Assistant):")
"""Where the model begins another turn: what follows is no answer."""

BULLET = re.compile(r"\s*[-*•–]\s+(\w.*)")  # noqa: RUF001 (models write the en dash too)


class Score(msgspec.Struct, frozen=True):
    """What an answer came to.

    Attributes:
        right: Whether it is right.
        why: If it is not, why, in words that many answers share.
        also: Further properties of the answer, recorded and not judged; the same ones whatever the answer.
    """

    right: bool
    why: str = ""
    also: dict[str, bool] = {}


def score_facts(item: CanaryItem, generated: str) -> Score:
    """As `score_values`, of what an item expects."""
    return score_values(generated, item.expected, item.rivals)


def score_list(item: CanaryItem, generated: str) -> Score:
    """As `score_facts`; the values may also stand in a bulleted list."""
    found = bullets(generated)
    return score_facts(item, "; ".join(found) if found else generated)


def score_values(generated: str, expected: Sequence[str], rivals: Iterable[str]) -> Score:
    """Whether an answer names every expected value and no rival.

    Only the first line counts, up to where the model begins another turn; values are found as whole words,
    whatever their case and the spaces between their words. An empty first line is no answer.

    Args:
        generated: What the model said.
        expected: Values that the answer must name.
        rivals: Values that it must not name.
    """
    line = first_line(generated)
    if not line.strip():
        return Score(False, "says nothing")
    named = [value for value in expected if mentions(line, value)]
    if any(mentions(line, rival) for rival in rivals):
        return Score(False, "names another value" if not named else "names another value too")
    if len(named) < len(expected):
        return Score(False, "names a part" if named else "names no value")
    return Score(True)


def score_untrapped(item: CanaryItem, generated: str) -> Score:
    """As `score_facts`; recorded beside it: whether the value that the conversation suggests is not named."""
    score = score_facts(item, generated)
    return Score(score.right, score.why, {"untrapped_rate": not mentions(first_line(generated), item.trap)})


def first_line(generated: str) -> str:
    """What counts of an answer in one line: up to a line's end, or where the model begins another turn."""
    return re.split(r"\n|\r", SPEAKER.split(generated.lstrip(" \t"), maxsplit=1)[0], maxsplit=1)[0]


def score_bullets(item: CanaryItem, generated: str) -> Score:
    """Whether the answer is a bulleted list of at least two; recorded beside it: of just the expected values.

    An introduction that ends in a colon may come first. The list ends at an empty line or where another turn begins.
    """
    found = bullets(generated)
    wrong = {"content_rate": False}
    if found is None:
        why = "has no bullets" if SPEAKER.split(generated, maxsplit=1)[0].strip() else "says nothing"
        return Score(False, why, wrong)
    if len(found) < 2:
        return Score(False, "has a single bullet", wrong)
    placed = [[value for value in item.expected if mentions(bullet, value)] for bullet in found]
    rival = any(mentions(bullet, other) for bullet in found for other in item.rivals)
    complete = all(len(values) == 1 for values in placed) and sorted(value for (value,) in placed) == sorted(
        item.expected
    )
    return Score(True, also={"content_rate": complete and not rival})


def bullets(generated: str) -> list[str] | None:
    """The texts behind the bullets of a bulleted reply; None if a line of it is something else."""
    lines = SPEAKER.split(generated, maxsplit=1)[0].strip().splitlines()
    if lines and lines[0].rstrip().endswith(":"):
        del lines[0]
    found = []
    for line in lines:
        if not line.strip():
            break
        bullet = BULLET.fullmatch(line)
        if bullet is None:
            return None
        found.append(bullet[1])
    return found or None


def mentions(text: str, value: str) -> bool:
    """Whether a text contains a value as whole words."""
    words = r"\s+".join(re.escape(word) for word in value.casefold().split())
    return re.search(rf"(?<!\w){words}(?!\w)", text.casefold()) is not None
