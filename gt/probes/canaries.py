"""C: what a conversation carries from turn to turn. A canary is a row: its conversations, and the scorer of answers."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from gt.data.dialogues import (
    CanaryItem,
    Score,
    bullet_items,
    persona_items,
    recall_items,
    score_bullets,
    score_facts,
    two_fact_items,
)
from gt.measurement import Measurement
from gt.probes.rates import rate
from gt.session import Sessions

if TYPE_CHECKING:
    from gt.subject import Subject

LINE_END = "\n"
NEXT_TURN = "\nUser:"

WRONG_KEPT, RIGHT_KEPT = 20, 3
"""Answers kept in the scorecard."""


class Canary(msgspec.Struct, frozen=True, kw_only=True):
    """One canary.

    Attributes:
        items: Makes its conversations from their number and the seed.
        score: Scores an answer.
        control: What the control conversations lack, in words.
        stop: Where an answer ends.
        max_tokens: Most tokens of an answer; one that ends earlier costs less.
    """

    items: Callable[[int, int], list[CanaryItem]]
    score: Callable[[CanaryItem, str], Score] = score_facts
    control: str = "the fact"
    stop: str = LINE_END
    max_tokens: int = 32


CANARIES: dict[str, Canary] = {
    "C1a": Canary(items=partial(recall_items, 0)),
    "C1b-lite": Canary(items=partial(recall_items, 3)),
    "C1b": Canary(items=partial(recall_items, 5)),
    "C1c": Canary(items=partial(recall_items, 10)),
    "C1d": Canary(items=partial(two_fact_items, 5), control="the first fact"),
    "C4a": Canary(items=bullet_items, score=score_bullets, control="the instruction", stop=NEXT_TURN, max_tokens=48),
    "C5a": Canary(items=partial(persona_items, 2), control="that fact of the persona"),
}


def measure(subject: Subject, check: str) -> tuple[Measurement, ...]:
    """Rate of right answers with its cluster-bootstrap interval, beside the rate of the control; greedy decoding.

    What is right in the control, whose conversations lack what the answer depends on, is luck. The chance level of a
    rate of facts is that of naming as many of the values that the scorer knows, at random. Recorded to explain: how
    often the right answer is the likeliest of a few candidates, whatever the model would say of its own accord; the
    other properties that the scorer sees; the rate of each kind; and wrong answers with what was said.

    Args:
        subject: What is measured.
        check: A row of `CANARIES`.
    """
    canary = CANARIES[check]
    items = canary.items(subject.size("canary_items"), subject.seed)
    # Any number of the first items is spread evenly over the templates: a few suffice for what is not judged.
    few = items[: subject.size("canary_controls")]
    told = _read(subject, [item.turns for item in items], "conversations")
    ranked = _ranked_first(subject, told, few)
    answers = told.generate(canary.max_tokens, canary.stop)
    without = _read(subject, [item.control for item in few], "controls").generate(canary.max_tokens, canary.stop)
    scores = [canary.score(item, answer) for item, answer in zip(items, answers, strict=True)]
    unaided = [canary.score(item, answer) for item, answer in zip(few, without, strict=True)]

    def rate_of(metric: str, right: Sequence[bool], **fields: Any) -> Measurement:
        by_template: dict[str, list[bool]] = defaultdict(list)
        for item, ok in zip(items, right, strict=False):
            by_template[item.template].append(ok)
        return rate(metric, by_template, subject.seed, **fields)

    guessed = _guessed(items) if canary.score is score_facts else None
    control = rate_of("control_rate", [score.right for score in unaided], chance=guessed)
    also = scores[0].also
    return (
        rate_of(
            "rate",
            [score.right for score in scores],
            chance=guessed,
            note=f"without {canary.control} {control.value:.1%}",
            detail=_report(items, answers, scores),
        ),
        control,
        *(rate_of(name, [score.also[name] for score in scores]) for name in also),
        rate_of("likelihood_rank_rate", ranked, chance=1 / len(items[0].candidates)),
    )


def _read(subject: Subject, conversations: Sequence[tuple[str, ...]], what: str) -> Sessions:
    """Read conversations turn by turn, up to where the model must answer."""
    sessions = Sessions(subject.model, subject.tokenizer, len(conversations))
    turns = max(map(len, conversations))
    for turn in range(turns):
        sessions.feed([conversation[turn] if turn < len(conversation) else "" for conversation in conversations])
        subject.progress(turn + 1, turns, what)
    return sessions


def _ranked_first(subject: Subject, sessions: Sessions, items: Sequence[CanaryItem]) -> list[bool]:
    """Whether the right candidate of each of the first items is likelier as the next words than its others."""
    sessions = sessions.fork(len(items))
    own = sessions.score([item.candidates[0] for item in items])
    best = [-math.inf] * len(items)
    others = len(items[0].candidates) - 1
    for number in range(1, others + 1):
        best = list(map(max, best, sessions.score([item.candidates[number] for item in items])))
        subject.progress(number, others, "likelihoods")
    return [mine > other for mine, other in zip(own, best, strict=True)]


def _guessed(items: Sequence[CanaryItem]) -> float:
    """How often as many values as are expected, drawn from those and the rivals, are the right ones."""
    ways = [math.comb(len(item.expected) + len(item.rivals), len(item.expected)) for item in items]
    return math.fsum(1 / way for way in ways) / len(ways)


def _report(items: Sequence[CanaryItem], answers: Sequence[str], scores: Sequence[Score]) -> dict[str, Any]:
    """Rates by kind, why answers were wrong, and a sample of them."""
    kinds: dict[str, list[bool]] = defaultdict(list)
    for item, score in zip(items, scores, strict=True):
        kinds[item.kind].append(score.right)
    told = [
        {
            "template": item.template,
            "said": item.said,
            "asked": item.turns[-1].splitlines()[0].removeprefix("User: "),
            "expected": list(item.expected),
            "got": answer,
            "why": score.why,
        }
        for item, answer, score in zip(items, answers, scores, strict=True)
    ]
    wrong = [one for one, score in zip(told, scores, strict=True) if not score.right]
    right = [one for one, score in zip(told, scores, strict=True) if score.right]
    return {
        "by_kind": {kind: {"rate": sum(own) / len(own), "n": len(own)} for kind, own in sorted(kinds.items())},
        "why_wrong": dict(Counter(score.why for score in scores if not score.right).most_common()),
        # Items go round the templates: the first ones are of different templates.
        "wrong": wrong[:WRONG_KEPT],
        "right": right[:RIGHT_KEPT],
    }
