"""C1: is a fact that was stated in a conversation recalled when it is asked for?"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gt.data.dialogues import RecallItem, recall_items, score_recall
from gt.measurement import Measurement, measured
from gt.session import Sessions
from gt.stats import cluster_bootstrap

if TYPE_CHECKING:
    from gt.subject import Subject

ANSWER_TOKENS = 32  # room for the value at the end of a sentence; an answer that ends earlier costs less
LINE_END = "\n"  # an answer is one line
RANKED_RIVALS = 3  # values that the stated one is ranked against: chance is 1 in 4
EXAMPLES = 5  # answers kept in the scorecard, right and wrong


def recall_at_once(subject: Subject) -> tuple[Measurement, ...]:
    """C1a: the question follows the statement."""
    return _recall(subject, fillers=0)


def recall_after_three(subject: Subject) -> tuple[Measurement, ...]:
    """C1b-lite: three unrelated sentences lie between statement and question."""
    return _recall(subject, fillers=3)


def _recall(subject: Subject, fillers: int) -> tuple[Measurement, ...]:
    """Recall rate with its cluster-bootstrap interval, beside the rate without the fact.

    An answer is right if it names the value and none of the rivals; greedy decoding. The control is the same
    conversation with a neutral turn in the statement's place: what is right there is chance. Recorded to explain: how
    often the value is the most likely of all its rivals, whatever the model would say of its own accord.
    """
    items = recall_items(fillers, subject.size("canary_items"), subject.seed)
    told = _read(subject, [item.turns for item in items], "conversations")
    first = _ranked_first(subject, told, items)
    answers = told.generate(ANSWER_TOKENS, stop=LINE_END)
    controls = _read(subject, [item.control for item in items], "controls").generate(ANSWER_TOKENS, stop=LINE_END)
    right = [score_recall(answer, item.answer, item.rivals) for answer, item in zip(answers, items, strict=True)]
    chance = [score_recall(answer, item.answer, item.rivals) for answer, item in zip(controls, items, strict=True)]
    rate, interval = _rate(items, right, subject.seed)
    control_rate, control_interval = _rate(items, chance, subject.seed)
    rank_chance = 1 / (1 + RANKED_RIVALS)
    rank_rate, rank_interval = _rate(items, first, subject.seed)
    examples = [
        {"question": item.turns[-1], "expected": item.answer, "got": answer, "right": ok}
        for item, answer, ok in list(zip(items, answers, right, strict=True))[:: max(1, len(items) // EXAMPLES)]
    ]
    note = f"without the fact {control_rate:.1%}"
    return (
        measured("rate", rate, n=len(items), ci95=interval, note=note, detail={"examples": examples}),
        measured("control_rate", control_rate, n=len(items), ci95=control_interval),
        measured(
            "likelihood_rank_rate",
            rank_rate,
            n=len(items),
            ci95=rank_interval,
            note=f"chance {rank_chance:.0%}",
        ),
    )


def _read(subject: Subject, conversations: Sequence[tuple[str, ...]], what: str) -> Sessions:
    """Read conversations turn by turn, up to where the model must answer."""
    sessions = Sessions(subject.model, subject.tokenizer, len(conversations))
    turns = len(conversations[0])
    for turn in range(turns):
        sessions.feed([conversation[turn] for conversation in conversations])
        subject.progress(turn + 1, turns, what)
    return sessions


def _ranked_first(subject: Subject, sessions: Sessions, items: Sequence[RecallItem]) -> list[bool]:
    """Whether the stated value is more likely as the next words than a few of its rivals, others for every item."""
    own = sessions.score([f" {item.answer}" for item in items])
    best = [-math.inf] * len(items)
    for number in range(RANKED_RIVALS):
        rivals = [item.rivals[(index + number) % len(item.rivals)] for index, item in enumerate(items)]
        best = list(map(max, best, sessions.score([f" {rival}" for rival in rivals])))
        subject.progress(number + 1, RANKED_RIVALS, "likelihoods")
    return [mine > other for mine, other in zip(own, best, strict=True)]


def _rate(items: Sequence[RecallItem], right: Sequence[bool], seed: int) -> tuple[float, tuple[float, float]]:
    clusters: dict[str, list[float]] = defaultdict(list)
    for item, ok in zip(items, right, strict=True):
        clusters[item.template].append(float(ok))
    rate, low, high = cluster_bootstrap(clusters, seed=seed)
    return rate, (low, high)
