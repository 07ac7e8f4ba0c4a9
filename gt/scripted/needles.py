"""What a scripted subject answers about a code that was hidden in prose."""

from __future__ import annotations

import re
from functools import cache

from gt.data.dialogues import needle_data
from gt.scripted.wording import UNKNOWN, question_of


def find_needle(text: str) -> str:
    """The code that was hidden under the key that is asked for."""
    statement = _statements().get(question_of(text))
    found = re.search(statement, text) if statement else None
    return f" {found[1]}.\n" if found else UNKNOWN


@cache
def _statements() -> dict[str, str]:
    """What says a code, as a pattern, by the question for it."""
    return {
        key.question: re.escape(key.statement).replace(re.escape("{value}"), r"(\S+?)") for key in needle_data().keys
    }
