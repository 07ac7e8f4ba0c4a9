"""Diagnostics: how states behave over length and inputs, and what each component contributes."""

from __future__ import annotations

from gt import probes
from gt.subject import Subject
from pytest_groundthink import check
from pytest_groundthink.judge import Judge


@check("D1")
def test_states_do_not_diverge(subject: Subject, judge: Judge) -> None:
    """The norm of no component's state grows without bound over 512 tokens."""
    judge(probes.diagnostics.divergence(subject))


@check("D1-long")
def test_states_do_not_diverge_over_long_text(subject: Subject, judge: Judge) -> None:
    """The norm of no component's state grows without bound over 8,192 tokens."""
    judge(probes.diagnostics.divergence(subject, length=8192))


@check("D2")
def test_states_do_not_collapse(subject: Subject, judge: Judge) -> None:
    """Different texts leave different states in each component."""
    judge(probes.diagnostics.collapse(subject))


@check("D3")
def test_each_state_lowers_the_loss(subject: Subject, judge: Judge) -> None:
    """Zeroing a component's state costs loss."""
    judge(probes.components.contribution(subject))


@check("D4")
def test_early_text_reaches_late_logits(subject: Subject, judge: Judge) -> None:
    """Replacing the first tokens changes the last logits by more than noise."""
    judge(probes.diagnostics.information_flow(subject))


@check("D5")
def test_states_are_coupled_to_the_loss(subject: Subject, judge: Judge) -> None:
    """A gradient reaches the state of each component."""
    judge(probes.components.coupling(subject))


@check("D6")
def test_information_flows_through_both_states(subject: Subject, judge: Judge) -> None:
    """Each component's state has a share in what the text before does to the logits."""
    judge(probes.components.flow_share(subject))


@check("R1")
def test_the_next_scale_costs_what_was_foretold(subject: Subject, judge: Judge) -> None:
    """Memory and step time of the next scale's model are what this scale's foretell."""
    judge(probes.resources.next_scale(subject))


@check("D7")
def test_the_output_depends_on_what_was_read_long_before(subject: Subject, judge: Judge) -> None:
    """A block of tokens changes the predictions 64 tokens later; the maps of blocks and layers are recorded."""
    judge(probes.maps.maps(subject))


@check("Q1")
def test_it_generates_text(subject: Subject, judge: Judge) -> None:
    """Samples for fixed prompts, with their diversity, repetition and entropy, are recorded."""
    judge(probes.samples.samples(subject))
