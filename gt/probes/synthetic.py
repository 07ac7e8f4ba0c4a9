"""Synthetic memory tasks in plain language. Each is a row, as a canary is: conversations, and the scorer of answers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gt.data.synthetic import (
    chain_items,
    common_items,
    copy_items,
    frequent_items,
    fuzzy_items,
    mqar_items,
    multi_key_items,
    multi_query_items,
    multi_value_items,
    recall_items,
    score_in_order,
    single_items,
)
from gt.measurement import Measurement
from gt.probes.canaries import Canary, measure_row

if TYPE_CHECKING:
    from gt.subject import Subject

SEVERAL = 48
"""Most tokens of an answer that names several words."""

SYNTHETIC: dict[str, Canary] = {
    "MQAR": Canary(items=mqar_items, control="the pair"),
    "SelCopy": Canary(items=copy_items, score=score_in_order, in_order=True, control="the sort", max_tokens=SEVERAL),
    "ICR": Canary(items=partial(recall_items, False), control="the pair"),
    "ICR-noisy": Canary(items=partial(recall_items, True), control="the pair"),
    "ICR-fuzzy": Canary(items=fuzzy_items, control="the pair"),
    "RULER-S": Canary(items=single_items, control="the needle"),
    "RULER-MK": Canary(items=multi_key_items, control="the needle"),
    "RULER-MV": Canary(items=multi_value_items, control="one of the needles", max_tokens=SEVERAL),
    "RULER-MQ": Canary(items=multi_query_items, control="one of the needles"),
    "RULER-VT": Canary(items=chain_items, control="the last link", max_tokens=SEVERAL),
    "RULER-CWE": Canary(items=common_items, control="any repetition"),
    "RULER-FWE": Canary(items=frequent_items, control="any repetition", max_tokens=SEVERAL),
}


def measure(subject: Subject, check: str) -> tuple[Measurement, ...]:
    """Rate of right answers, beside its control and its chance level, as `gt.probes.canaries.measure`.

    What is asked is said in plain language, without examples: the subject is a language model, and is not trained on
    the task. Every task is as long as models of a few million parameters can read.

    Args:
        subject: What is measured.
        check: A row of `SYNTHETIC`.
    """
    return measure_row(subject, SYNTHETIC[check])
