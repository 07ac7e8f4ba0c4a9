"""What all scripts read and say alike."""

from __future__ import annotations

UNKNOWN = " I do not know.\n"


def question_of(text: str) -> str:
    """What was asked last."""
    return text.rpartition("User: ")[2].removesuffix("\nAssistant:")
