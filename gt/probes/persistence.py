"""SPS, the State Persistence Score: how long a fact stays in the state, turn by turn."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gt.data.dialogues import CanaryItem, Score, recall_items
from gt.measurement import Measurement
from gt.probes.canaries import CANARIES
from gt.probes.rates import rate
from gt.probes.reading import read
from gt.stats import cluster_bootstrap

if TYPE_CHECKING:
    from gt.subject import Subject

TURNS = (1, 3, 5, 10, 20, 50)
"""Unrelated turns between a fact and its question, as the State Persistence Score of the V4 documents has them."""


def measure(subject: Subject) -> tuple[Measurement, ...]:
    """Recall after 1, 3, 5, 10, 20 and 50 unrelated turns: the mean of these rates, and the curve in its detail.

    The facts and the first turns are those of C1 at every distance. The conversations are read once, to their 50th
    turn; at each distance a fork of them is asked. Intervals: cluster bootstrap over the templates, which holds the
    six answers about one fact together; outcomes of a template go distance by distance. The control lacks the fact and
    is asked after one turn.

    Args:
        subject: What is measured.
    """
    canary = CANARIES["C1a"]
    found: list[tuple[Sequence[CanaryItem], list[Score]]] = []
    controls: list[Score] = []
    few = subject.size("canary_controls")
    for turns in TURNS:
        items = recall_items(turns, subject.size("canary_items"), subject.seed)
        without = [item.control for item in items[:few]] if not found else []
        conversations = [*(item.turns for item in items), *without]
        asked = read(subject, conversations, room=canary.max_tokens, keep=turns != TURNS[-1])
        answers = asked.answer(canary.max_tokens, canary.stop)
        found.append((items, [canary.score(item, answer) for item, answer in zip(items, answers, strict=False)]))
        controls += [canary.score(item, answer) for item, answer in zip(items, answers[len(items) :], strict=False)]
    # The answers about one fact are one observation: its share of right ones.
    shares: dict[str, list[float]] = defaultdict(list)
    for fact, item in enumerate(found[0][0]):
        shares[item.template].append(sum(scores[fact].right for _, scores in found) / len(found))
    _, low, high = cluster_bootstrap(shares, seed=subject.seed)
    rates = [_rate("last_rate", items, scores, subject.seed) for items, scores in found]
    steps = ", ".join(f"{turns}: {one.value:.0%}" for turns, one in zip(TURNS, rates, strict=True))
    whole = _rate(
        "rate",
        [item for items, _ in found for item in items],
        [score for _, scores in found for score in scores],
        subject.seed,
        note=f"after {steps}",
        detail={
            "curve": [
                {
                    "turns": turns,
                    "rate": one.value,
                    "ci95": list(one.ci95 or ()),
                    "n": one.n,
                    "why_wrong": dict(Counter(score.why for score in scores if not score.right).most_common()),
                }
                for turns, one, (_, scores) in zip(TURNS, rates, found, strict=True)
            ]
        },
    )
    return (
        msgspec.structs.replace(whole, n=len(found[0][0]), ci95=(low, high)),
        rates[-1],
        _rate("control_rate", found[0][0][:few], controls, subject.seed),
    )


def _rate(metric: str, items: Sequence[CanaryItem], scores: Sequence[Score], seed: int, **fields: Any) -> Measurement:
    by_template: dict[str, list[bool]] = defaultdict(list)
    for item, score in zip(items, scores, strict=True):
        by_template[item.template].append(score.right)
    return rate(metric, by_template, seed, **fields)
