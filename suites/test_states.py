"""State fundamentals: is the recurrent state real, alive and deterministic."""

from __future__ import annotations

from gt import probes
from gt.subject import Subject
from pytest_groundthink import check
from pytest_groundthink.judge import Judge


@check("S0")
def test_states_have_their_shapes(subject: Subject, judge: Judge) -> None:
    """Every layer's states exist as the configuration implies."""
    judge(probes.states.shapes(subject))


@check("S1")
def test_states_are_healthy(subject: Subject, judge: Judge) -> None:
    """States after real text are finite, written and bounded."""
    judge(probes.states.health(subject))


@check("S2")
def test_states_follow_the_text(subject: Subject, judge: Judge) -> None:
    """Two texts leave different states."""
    judge(probes.states.evolution(subject))


@check("S3")
def test_states_are_deterministic(subject: Subject, judge: Judge) -> None:
    """The same text leaves the same state, also after saving and restoring it."""
    judge(probes.states.determinism(subject))


@check("S4")
def test_both_states_contribute(subject: Subject, judge: Judge) -> None:
    """The state of each component varies with what was read."""
    judge(probes.states.contribution(subject))
