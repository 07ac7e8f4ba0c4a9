"""C: what a conversation carries from turn to turn. A canary is a row: its conversations, and the scorer of answers."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from gt.data.dialogues import (
    CanaryItem,
    Score,
    bullet_items,
    consistent_persona_items,
    constraint_items,
    correction_items,
    doubted_persona_items,
    formal_items,
    nested_items,
    persona_items,
    preference_items,
    recall_items,
    reference_items,
    score_bullets,
    score_facts,
    score_formal,
    score_list,
    score_terse,
    score_untrapped,
    speaker_items,
    terse_items,
    three_fact_items,
    two_fact_items,
)
from gt.measurement import Measurement
from gt.probes.interleaving import interleaving_difference
from gt.probes.rates import rate
from gt.probes.reading import read
from gt.session import Sessions

if TYPE_CHECKING:
    from gt.subject import Subject
    from gt.tokenizers import Tokenizer

LINE_END = "\n"
NEXT_TURN = "\nUser:"

WRONG_KEPT, RIGHT_KEPT = 20, 3
"""Answers kept in the scorecard."""


class Canary(msgspec.Struct, frozen=True, kw_only=True):
    """One canary.

    Attributes:
        items: Makes its conversations from their number and the seed.
        in_tokens: Whether `items` also needs `tokens`, which counts those that the subject makes of a text.
        leads_on: Whether a later canary goes on from these conversations: what was read is kept for it.
        score: Scores an answer.
        in_order: Whether the values must be named in their order.
        names_values: Whether the right answer names values, among those that the scorer knows: then a guess has a rate.
        control: What the control conversations lack, in words.
        stop: Where an answer ends.
        max_tokens: Most tokens of an answer; one that ends earlier costs less.
        further: Measures something more with the first of its conversations.
    """

    items: Callable[..., list[CanaryItem]]
    in_tokens: bool = False
    leads_on: bool = False
    score: Callable[[CanaryItem, str], Score] = score_facts
    names_values: bool = True
    in_order: bool = False
    control: str = "the fact"
    stop: str = LINE_END
    max_tokens: int = 32
    further: Callable[[Subject, list[CanaryItem]], Measurement] | None = None

    def conversations(self, n: int, seed: int, tokenizer: Tokenizer) -> list[CanaryItem]:
        """Its first n conversations for a subject with this tokenizer."""
        if self.in_tokens:
            return self.items(n, seed, tokens=lambda text: len(tokenizer.encode(text)))
        return self.items(n, seed)


CANARIES: dict[str, Canary] = {
    "C1a": Canary(items=partial(recall_items, 0), leads_on=True),
    "C1b-lite": Canary(items=partial(recall_items, 3), leads_on=True),
    "C1b": Canary(items=partial(recall_items, 5), leads_on=True),
    "C1c": Canary(items=partial(recall_items, 10)),
    "C1d": Canary(items=partial(two_fact_items, 5), control="the first fact"),
    "C2a": Canary(items=partial(three_fact_items, 2000), in_tokens=True, control="the last fact"),
    "C2b": Canary(items=constraint_items, score=score_list, control="one of the things", stop=NEXT_TURN, max_tokens=48),
    "C3a": Canary(items=partial(preference_items, 4), control="the preference"),
    "C3b": Canary(items=reference_items, control="the name"),
    "C3c": Canary(items=partial(correction_items, 2), control="the correction"),
    "C4a": Canary(
        items=bullet_items,
        score=score_bullets,
        names_values=False,
        control="the instruction",
        stop=NEXT_TURN,
        max_tokens=48,
    ),
    "C4b": Canary(items=formal_items, score=score_formal, names_values=False, control="the instruction"),
    "C4c": Canary(items=terse_items, score=score_terse, names_values=False, control="the instruction"),
    "C5a": Canary(items=partial(persona_items, 2), control="that fact of the persona"),
    "C5b": Canary(items=consistent_persona_items, control="the last fact of the persona"),
    "C5c": Canary(items=doubted_persona_items, score=score_untrapped, control="that fact of the persona"),
    "C6a": Canary(items=nested_items, score=score_untrapped, further=interleaving_difference),
    "C6b": Canary(items=speaker_items, score=score_untrapped, control="the last user's fact"),
}


def measure(subject: Subject, check: str) -> tuple[Measurement, ...]:
    """Rate of right answers with its cluster-bootstrap interval, beside the rate of the control; greedy decoding.

    A conversation with several questions is right if every answer is. What is right in the control, whose
    conversations lack what the answer depends on, is luck. The chance level of a rate of facts is that of naming as
    many of the values that the scorer knows, at random. Recorded to explain: how often the right answer is the
    likeliest of a few candidates, whatever the model would say of its own accord; the other properties that the scorer
    sees; the rate of each kind and of each question; and wrong answers with what was said.

    Args:
        subject: What is measured.
        check: A row of `CANARIES`.
    """
    return measure_row(subject, CANARIES[check])


def measure_row(subject: Subject, canary: Canary) -> tuple[Measurement, ...]:
    """As `measure`, of any row."""
    items = canary.conversations(subject.size("canary_items"), subject.seed, subject.tokenizer)
    # Any number of the first items is spread evenly over the templates: a few suffice for what is not judged.
    few = items[: subject.size("canary_controls")]
    conversations = [*(one.turns for one in _questions(items)), *(one.control for one in _questions(few))]
    asked = read(subject, conversations, room=canary.max_tokens, keep=canary.leads_on)
    ranked = _ranked_first(subject, asked, few)
    every_answer = iter(asked.answer(canary.max_tokens, canary.stop))
    answers, without = _answered(canary, items, every_answer), _answered(canary, few, every_answer)
    scores = [_together(own) for own in answers]
    unaided = [_together(own) for own in without]

    def rate_of(metric: str, right: Sequence[bool], **fields: Any) -> Measurement:
        by_template: dict[str, list[bool]] = defaultdict(list)
        for item, ok in zip(items, right, strict=False):
            by_template[item.template].append(ok)
        return rate(metric, by_template, subject.seed, **fields)

    guessed = _guessed(items, canary.in_order) if canary.names_values else None
    control = rate_of("control_rate", [score.right for score in unaided], chance=guessed)
    also = scores[0].also
    return (
        rate_of(
            "rate",
            [score.right for score in scores],
            chance=guessed,
            note=f"without {canary.control} {control.value:.1%}",
            detail=_report(items, answers),
        ),
        control,
        *(rate_of(name, [score.also[name] for score in scores]) for name in also),
        rate_of("likelihood_rank_rate", ranked, chance=1 / len(items[0].candidates)),
        *([canary.further(subject, few)] if canary.further else []),
    )


class Answered(msgspec.Struct, frozen=True):
    """A question, what was answered, and what that came to."""

    item: CanaryItem
    answer: str
    score: Score


def _questions(items: Sequence[CanaryItem]) -> list[CanaryItem]:
    """The last question of each item, then all that are asked aside before."""
    return [*items, *(early for item in items for early in item.before)]


def _answered(canary: Canary, items: Sequence[CanaryItem], answers: Iterator[str]) -> list[list[Answered]]:
    """The questions of each item in the order of the conversation, from answers in the order of `_questions`."""

    def answered(item: CanaryItem) -> Answered:
        answer = next(answers)
        return Answered(item, answer, canary.score(item, answer))

    last = [answered(item) for item in items]
    return [[*map(answered, item.before), late] for item, late in zip(items, last, strict=True)]


def _together(answered: Sequence[Answered]) -> Score:
    """What the answers of one conversation come to: a property is there if every answer has it."""
    scores = [one.score for one in answered]
    wrong = next((score.why for score in scores if not score.right), "")
    return Score(not wrong, wrong, {name: all(score.also[name] for score in scores) for name in scores[0].also})


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


def _guessed(items: Sequence[CanaryItem], in_order: bool) -> float:
    """How often as many values as are expected, drawn from those and the rivals, are right at every question."""
    count = math.perm if in_order else math.comb
    ways = [
        math.prod(count(len(one.expected) + len(one.rivals), len(one.expected)) for one in (*item.before, item))
        for item in items
    ]
    return math.fsum(1 / way for way in ways) / len(ways)


def _report(items: Sequence[CanaryItem], answers: Sequence[Sequence[Answered]]) -> dict[str, Any]:
    """Rates by kind and by question, why answers were wrong, and a sample of them: the first wrong one of an item."""
    kinds: dict[str, list[bool]] = defaultdict(list)
    shown = []
    for item, own in zip(items, answers, strict=True):
        kinds[item.kind].append(all(one.score.right for one in own))
        shown.append(next((one for one in own if not one.score.right), own[-1]))
    told = [
        {
            "template": item.template,
            "said": one.item.said,
            "asked": one.item.turns[-1].splitlines()[0].removeprefix("User: "),
            "expected": list(one.item.expected),
            "got": one.answer,
            "why": one.score.why,
        }
        for item, one in zip(items, shown, strict=True)
    ]
    wrong = [text for text, one in zip(told, shown, strict=True) if not one.score.right]
    right = [text for text, one in zip(told, shown, strict=True) if one.score.right]
    by_question = [sum(own[number].score.right for own in answers) / len(answers) for number in range(len(answers[0]))]
    return {
        "by_kind": {kind: {"rate": sum(own) / len(own), "n": len(own)} for kind, own in sorted(kinds.items())},
        **({"by_question": by_question} if len(by_question) > 1 else {}),
        "why_wrong": dict(Counter(one.score.why for one in shown if not one.score.right).most_common()),
        # Items go round the templates: the first ones are of different templates.
        "wrong": wrong[:WRONG_KEPT],
        "right": right[:RIGHT_KEPT],
    }
