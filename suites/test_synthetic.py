"""Synthetic memory tasks: recall, copying and counting in texts of a few hundred tokens."""

from __future__ import annotations

from gt import probes
from gt.subject import Subject
from pytest_groundthink import check
from pytest_groundthink.judge import Judge


@check("MQAR")
def test_looks_up_one_of_eight_pairs(subject: Subject, judge: Judge) -> None:
    """The value of a key is found among eight pairs, after three other keys were asked."""
    judge(probes.synthetic.measure(subject, "MQAR"))


@check("SelCopy")
def test_copies_what_is_of_a_sort(subject: Subject, judge: Judge) -> None:
    """Of a row of words, those of one sort are repeated in their order."""
    judge(probes.synthetic.measure(subject, "SelCopy"))


@check("ICR")
def test_answers_a_key_that_comes_again(subject: Subject, judge: Judge) -> None:
    """A key that was answered before is answered in the same way."""
    judge(probes.synthetic.measure(subject, "ICR"))


@check("ICR-noisy")
def test_answers_it_in_noise(subject: Subject, judge: Judge) -> None:
    """The same with unrelated turns between."""
    judge(probes.synthetic.measure(subject, "ICR-noisy"))


@check("ICR-fuzzy")
def test_answers_keys_that_share_words(subject: Subject, judge: Judge) -> None:
    """The same with keys and values of two words that they share."""
    judge(probes.synthetic.measure(subject, "ICR-fuzzy"))


@check("RULER-S")
def test_finds_a_single_needle(subject: Subject, judge: Judge) -> None:
    """A value that a short text names once is found."""
    judge(probes.synthetic.measure(subject, "RULER-S"))


@check("RULER-MK")
def test_finds_one_needle_of_four(subject: Subject, judge: Judge) -> None:
    """The value of the key that is asked is found among four."""
    judge(probes.synthetic.measure(subject, "RULER-MK"))


@check("RULER-MV")
def test_finds_all_needles_of_a_key(subject: Subject, judge: Judge) -> None:
    """All three values of a key are found."""
    judge(probes.synthetic.measure(subject, "RULER-MV"))


@check("RULER-MQ")
def test_finds_two_needles_at_once(subject: Subject, judge: Judge) -> None:
    """The values of two keys are found for one question."""
    judge(probes.synthetic.measure(subject, "RULER-MQ"))


@check("RULER-VT")
def test_tracks_variables(subject: Subject, judge: Judge) -> None:
    """All variables that inherit a value are named."""
    judge(probes.synthetic.measure(subject, "RULER-VT"))


@check("RULER-CWE")
def test_names_common_words(subject: Subject, judge: Judge) -> None:
    """The words that come several times are named."""
    judge(probes.synthetic.measure(subject, "RULER-CWE"))


@check("RULER-FWE")
def test_names_frequent_words(subject: Subject, judge: Judge) -> None:
    """The most frequent words are named."""
    judge(probes.synthetic.measure(subject, "RULER-FWE"))
