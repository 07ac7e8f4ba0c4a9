"""Learning: by heart, beyond counting tokens, across a save, smoothly, and as well as a transformer."""

from __future__ import annotations

from gt import probes
from gt.subject import Subject
from pytest_groundthink import check
from pytest_groundthink.judge import Judge


@check("L1")
def test_learns_ten_samples_by_heart(subject: Subject, judge: Judge) -> None:
    """A fresh model overfits ten samples."""
    judge(probes.learning.overfit(subject))


@check("L2")
def test_beats_naive_baselines(subject: Subject, judge: Judge) -> None:
    """The validation loss is below the best of three naive baselines."""
    judge(probes.learning.naive_baseline(subject))


@check("L3")
def test_resuming_is_exact(subject: Subject, judge: Judge) -> None:
    """A run that was saved and resumed is the run that was not, and a checkpoint gives the model's logits."""
    judge(probes.training_runs.resuming(subject))


@check("L4")
def test_training_was_smooth(subject: Subject, judge: Judge) -> None:
    """The loss in the checkpoint's log has no spikes."""
    judge(probes.training_runs.training_log(subject))


@check("L5")
def test_is_as_good_as_gpt2(subject: Subject, judge: Judge) -> None:
    """The validation loss is not above that of a GPT-2 that was trained alike."""
    judge(probes.training_runs.against_gpt2(subject))
