"""C1: is a fact that was stated in a conversation recalled when it is asked for?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gt.data.dialogues import RecallItem, recall_items, score_recall
from gt.measurement import Measurement, measured
from gt.session import Sessions
from gt.stats import cluster_bootstrap

if TYPE_CHECKING:
    from gt.subject import Subject

ANSWER_TOKENS = 12  # room for the longest value in a short sentence
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
    conversation with a neutral turn in the statement's place: what is right there is chance.
    """
    items = recall_items(fillers, subject.size("canary_items"), subject.seed)
    answers = _answers(subject, [item.turns for item in items], "conversations")
    controls = _answers(subject, [item.control for item in items], "controls")
    right = [score_recall(answer, item.answer, item.rivals) for answer, item in zip(answers, items, strict=True)]
    chance = [score_recall(answer, item.answer, item.rivals) for answer, item in zip(controls, items, strict=True)]
    rate, interval = _rate(items, right, subject.seed)
    control_rate, control_interval = _rate(items, chance, subject.seed)
    examples = [
        {"question": item.turns[-1], "expected": item.answer, "got": answer, "right": ok}
        for item, answer, ok in list(zip(items, answers, right, strict=True))[:: max(1, len(items) // EXAMPLES)]
    ]
    note = f"without the fact {control_rate:.1%}"
    return (
        measured("rate", rate, n=len(items), ci95=interval, note=note, detail={"examples": examples}),
        measured("control_rate", control_rate, n=len(items), ci95=control_interval),
    )


def _answers(subject: Subject, conversations: Sequence[tuple[str, ...]], what: str) -> list[str]:
    sessions = Sessions(subject.model, subject.tokenizer, len(conversations))
    turns = len(conversations[0])
    for turn in range(turns):
        sessions.feed([conversation[turn] for conversation in conversations])
        subject.progress(turn + 1, turns + 1, what)
    return sessions.generate(ANSWER_TOKENS)


def _rate(items: Sequence[RecallItem], right: Sequence[bool], seed: int) -> tuple[float, tuple[float, float]]:
    clusters: dict[str, list[float]] = defaultdict(list)
    for item, ok in zip(items, right, strict=True):
        clusters[item.template].append(float(ok))
    rate, low, high = cluster_bootstrap(clusters, seed=seed)
    return rate, (low, high)
