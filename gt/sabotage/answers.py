"""What a scripted subject says (`gt.scripted`). Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def instead(change: Callable[[str, str], str]) -> Callable[[nn.Module], None]:
    """The script's answer is changed.

    Args:
        change: What is said instead, from all that was read and the right answer.
    """

    def plant_it(model: nn.Module) -> None:
        subject: Any = model
        reply = subject.reply
        subject.reply = lambda text: change(text, reply(text))

    return plant_it


def every_candidate(text: str, answer: str) -> str:
    """All values of the kind that the right one is of, which comes first."""
    named = [(answer.find(value), value, circle) for circle in _kinds() for value in circle if value in answer]
    if not named:
        return answer
    _, right, circle = min(named, key=lambda found: (found[0], -len(found[1])))
    return f" {', '.join([right, *(value for value in circle if value != right)])}.\n"


def last_value(text: str, answer: str) -> str:
    """The value that was read last, whatever was asked."""
    found = [(text.rfind(value), len(value), value) for circle in _kinds() for value in circle if value in text]
    return f" {max(found)[2]}.\n" if found else answer


def echo(text: str, answer: str) -> str:
    """What was said last."""
    return " " + text.rpartition("User: ")[2]


def _kinds() -> list[tuple[str, ...]]:
    from gt.data.dialogues import canary_data, persona_data

    return [tuple(circle) for circle in {**canary_data().kinds, **persona_data().kinds}.values()]
