"""How it is judged: thresholds, verdicts, scorecards, decisions, reports. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__ = ["check"]


def check(check_id: str) -> pytest.MarkDecorator:
    """Mark a test as the one that asks for a check of `checks.yaml`.

    The test runs once for each subject and must call the `judge` fixture exactly once.

    Args:
        check_id: Id of the check, for example "G1a".
    """
    import pytest

    return pytest.mark.check(check_id)
