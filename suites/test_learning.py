"""Learning: does the trained model know more than a count of tokens."""

from __future__ import annotations

from gt import probes
from gt.subject import Subject
from pytest_groundthink import check
from pytest_groundthink.judge import Judge


@check("L2")
def test_beats_naive_baselines(subject: Subject, judge: Judge) -> None:
    """The validation loss is below the best of three naive baselines."""
    judge(probes.learning.naive_baseline(subject))
