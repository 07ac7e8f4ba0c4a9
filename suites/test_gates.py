"""Gates: can the model be trained at all."""

from __future__ import annotations

from gt import probes
from gt.subject import Subject
from pytest_groundthink import check
from pytest_groundthink.judge import Judge


@check("G0")
def test_kernels_resolve_and_agree(subject: Subject, judge: Judge) -> None:
    """Every op resolves to the fastest backend of the device and agrees with the reference."""
    judge(probes.kernels.resolution_and_agreement(subject))


@check("G1a")
def test_forward_is_finite(subject: Subject, judge: Judge) -> None:
    """Logits have the right shape and are finite."""
    judge(probes.forward.finite_logits(subject))


@check("G1b")
def test_future_does_not_leak(subject: Subject, judge: Judge) -> None:
    """No logit depends on a later token."""
    judge(probes.forward.causality(subject))


@check("G1c")
def test_parallel_and_streaming_agree(subject: Subject, judge: Judge) -> None:
    """Parallel form, token by token and splits give the same logits and state."""
    judge(probes.forward.recurrence(subject))


@check("G1d")
def test_rows_do_not_mix(subject: Subject, judge: Judge) -> None:
    """A row alone gives what it gives among others."""
    judge(probes.forward.batch_invariance(subject))


@check("G1e")
def test_gradients_reach_every_parameter(subject: Subject, judge: Judge) -> None:
    """Every parameter tensor has a finite, non-zero gradient."""
    judge(probes.gradients.reach(subject))


@check("G2")
def test_untrained_model_prefers_no_token(subject: Subject, judge: Judge) -> None:
    """The entropy of a fresh initialisation is near that of a uniform choice."""
    judge(probes.forward.init_entropy(subject))


@check("G3")
def test_mini_training_learns(subject: Subject, judge: Judge) -> None:
    """The loss of a short training falls with a healthy gradient norm."""
    judge(probes.learning.mini_training(subject))


@check("G3.5")
def test_states_move(subject: Subject, judge: Judge) -> None:
    """Outputs vary with the text, and the state moves with it."""
    judge(probes.diagnostics.movement(subject))


@check("G4")
def test_components_are_balanced(subject: Subject, judge: Judge) -> None:
    """Both components receive gradients of comparable size."""
    judge(probes.gradients.component_balance(subject))
