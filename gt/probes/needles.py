"""NIAH: is a code found again that was said once somewhere in a long text?"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gt.data.dialogues import Score, mentions, needle_data, score_values
from gt.data.needles import RANKED_RIVALS, Haystack, Needle, longest_needle, needles, reserve
from gt.measurement import Measurement, Unmeasurable, measured
from gt.probes.compare import over_texts
from gt.probes.haystack import ANSWER_TOKENS, ask, hide, hide_all, ranked_first
from gt.probes.rates import rate

if TYPE_CHECKING:
    from gt.subject import Subject

WRONG_KEPT = 20
"""Wrong answers kept in the scorecard."""

RECORDED = 2
"""How many times the claimed context NIAH looks, to record what it does not judge."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What one needle came to, and its two controls.

    Attributes:
        length: Tokens of the prompt with its answer.
        depth: Share of the haystack before the needle, as asked for; None for one of several.
        place: Tokens before the needle.
        needle: The needle.
        got: The answer.
        likeliest: Whether the right code was likelier than its rivals; None where that was not asked.
        without: The answer to the same question after the same haystack without a needle.
        other: The answer about another key.
    """

    length: int
    depth: float | None
    place: int
    needle: Needle
    got: str
    likeliest: bool | None = None
    without: str = ""
    other: str = ""

    @property
    def right(self) -> bool:
        """Whether the answer is right."""
        return _score(self.needle, self.got).right


def claimed(subject: Subject) -> tuple[Measurement, ...]:
    """NIAH: accuracy at the lengths up to the claimed context; up to twice that is recorded beside it."""
    limit = subject.claimed_context
    lengths = [length for length in needle_data().lengths if length <= RECORDED * limit]
    return _measure(subject, sorted({limit, *lengths}), judged_to=limit)


def grid(subject: Subject) -> tuple[Measurement, ...]:
    """NIAH-16K: accuracy at every length of `needles.yaml`, all judged."""
    lengths = sorted(needle_data().lengths)
    return _measure(subject, lengths, judged_to=lengths[-1])


def _measure(subject: Subject, lengths: Sequence[int], judged_to: int) -> tuple[Measurement, ...]:
    """The grid of lengths and depths, the controls, and ten facts at once.

    What is judged is the lowest accuracy of a length: every length up to the claimed context must hold. Prompts are
    counted in the model's own tokens and include needle, question and answer. The haystack is validation text, then
    training text, in an order drawn from the seed; a shorter one is the beginning of a longer one, so that lengths
    differ by length alone. Greedy decoding; right is an answer that names the code and no other of `needles.yaml`.
    Intervals: cluster bootstrap over the keys.
    """
    haystack, lengths, note = _readable(subject, lengths, judged_to)
    found: list[Found] = []
    cached = True
    for length in lengths:
        row, from_cache = _cells(subject, haystack, length)
        found += row
        cached &= from_cache
    measurements = _summary(subject, found, judged_to, note)
    # The claimed context, or where that is too short for so many the next length.
    for length in sorted({subject.claimed_context, *lengths}):
        if subject.claimed_context <= length <= len(haystack) and _room(subject, length) > 0:
            facts, from_cache = _facts(subject, haystack, length)
            cached &= from_cache
            measurements.append(_multi(subject, facts))
            break
    return tuple(msgspec.structs.replace(one, cached=cached) for one in measurements)


def _readable(subject: Subject, lengths: Sequence[int], judged_to: int) -> tuple[Haystack, list[int], str]:
    """The haystack and the lengths that fit, with what limits them."""
    needed = max(lengths)
    documents = list(subject.corpus.valid)
    random.Random(f"haystack {subject.seed}").shuffle(documents)
    haystack = Haystack((*documents, *subject.corpus.train), subject.tokenizer, needed)
    limits = {f"the corpus has {len(haystack):,} tokens": len(haystack)}
    if subject.longest_text is not None:
        limits[f"it has {subject.longest_text:,} learned positions"] = subject.longest_text
    why, limit = min(limits.items(), key=lambda entry: entry[1])
    kept = [length for length in lengths if length <= limit]
    if limit < judged_to or not kept:
        raise Unmeasurable(f"{why}, needed are {judged_to:,}")
    return haystack, kept, f"no longer than {kept[-1]:,} tokens: {why}" if len(kept) < len(lengths) else ""


def _cells(subject: Subject, haystack: Haystack, length: int) -> tuple[list[Found], bool]:
    """All depths of one length, from the cache if an earlier run has read them."""
    data, count = needle_data(), subject.size("niah_needles")
    end = length - reserve(subject.tokenizer, ANSWER_TOKENS)
    by_depth = {depth: needles(count, f"{length}/{depth}", subject.seed) for depth in data.depths}
    hidden: dict[int, list[Needle]] = defaultdict(list)
    for depth, own in by_depth.items():
        hidden[haystack.nearest(depth * end)] += own
    cells = [(depth, place, one) for depth, own in by_depth.items() for one in own
             for place in [haystack.nearest(depth * end)]]  # fmt: skip

    def read() -> list[Found]:
        rows = hide(subject, haystack, end, hidden)
        of, asked = range(1, len(cells) + 1), [needle for _, _, needle in cells]
        answers = {
            "got": ask(rows, of, [needle.query for needle in asked]),
            "without": ask(rows, [0] * len(cells), [needle.query for needle in asked]),
            "other": ask(rows, of, [needle.other_query for needle in asked]),
        }
        likeliest = ranked_first(rows, of, asked)
        return [
            Found(length=length, depth=depth, place=place, needle=needle, likeliest=likeliest[row],
                  **{name: texts[row] for name, texts in answers.items()})
            for row, (depth, place, needle) in enumerate(cells)
        ]  # fmt: skip

    return _once(subject, "niah", [length, haystack.tokens[:end], msgspec.to_builtins(cells)], read)


def _facts(subject: Subject, haystack: Haystack, length: int) -> tuple[list[Found], bool]:
    """Several needles in one haystack, all asked."""
    count, end = needle_data().facts, _room(subject, length)
    rows = [needles(count, f"facts {row}", subject.seed) for row in range(subject.size("niah_fact_rows"))]

    def read() -> list[Found]:
        sessions = hide_all(subject, haystack, end, rows)
        asked = [(row, needle) for row, own in enumerate(rows) for needle in own]
        answers = ask(sessions, [row for row, _ in asked], [needle.query for _, needle in asked])
        return [
            Found(length=length, depth=None, place=0, needle=needle, got=answer)
            for (_, needle), answer in zip(asked, answers, strict=True)
        ]

    return _once(subject, "niah-facts", [length, haystack.tokens[:end], msgspec.to_builtins(rows)], read)


def _room(subject: Subject, length: int) -> int:
    """Tokens of prose that ten facts, a question and its answer leave; 0 where facts would be most of the text."""
    facts = needle_data().facts * longest_needle(subject.tokenizer)
    rest = length - reserve(subject.tokenizer, ANSWER_TOKENS) + longest_needle(subject.tokenizer) - facts
    return rest if rest >= facts else 0


def _once(subject: Subject, what: str, asked: Any, read: Any) -> tuple[list[Found], bool]:
    """What was found, and whether an earlier run has found it."""
    entry = subject.resumable(what, asked=hashlib.sha256(json.dumps(asked).encode()).hexdigest())
    with entry.lock():
        kept = entry.read()
        if kept is not None:
            return msgspec.convert(kept[0]["found"], list[Found]), entry.cached
        found: list[Found] = read()
        entry.write({"found": msgspec.to_builtins(found)}, {})
    return found, False


def _summary(subject: Subject, found: list[Found], judged_to: int, note: str) -> list[Measurement]:
    data = needle_data()

    def rate_of(metric: str, chosen: Sequence[Found], right: Sequence[bool], **fields: Any) -> Measurement:
        return _rate(metric, chosen, right, subject.seed, **fields)

    lengths = sorted({one.length for one in found})
    accuracy = {length: _share([one.right for one in found if one.length == length]) for length in lengths}
    judged = [length for length in lengths if length <= judged_to]
    lowest = min(judged, key=lambda length: accuracy[length])
    at_lowest = [one for one in found if one.length == lowest]
    up_to = [one for one in found if one.length <= judged_to]
    guessed = 1 / len(data.values)
    control = rate_of("control_rate", up_to, [_score(one.needle, one.without).right for one in up_to], chance=guessed)
    other = rate_of("other_key_rate", up_to, [mentions(one.other, one.needle.value) for one in up_to])
    fallen = next((length for length in lengths if accuracy[length] < data.held_at), None)
    held = max((length for length in lengths if fallen is None or length < fallen), default=0)
    wrong = [one for one in found if not one.right]
    return [
        rate_of(
            "rate",
            at_lowest,
            [one.right for one in at_lowest],
            chance=guessed,
            note="; ".join(
                filter(
                    None,
                    (
                        f"at {lowest:,} tokens, the worst of {', '.join(f'{length:,}' for length in judged)}",
                        f"without a needle {control.value:.1%}, asked for another key {other.value:.1%}",
                        note,
                    ),
                )
            ),
            detail={
                "cells": _heatmap(found),
                "accuracy": {str(length): share for length, share in accuracy.items()},
                "judged_to": judged_to,
                "wrong": [_told(one) for one in wrong[:: max(1, len(wrong) // WRONG_KEPT)][:WRONG_KEPT]],
            },
        ),
        control,
        other,
        rate_of(
            "likelihood_rank_rate",
            up_to,
            [bool(one.likeliest) for one in up_to],
            chance=1 / (1 + RANKED_RIVALS),
        ),
        measured(
            "held_length",
            held,
            unit="tokens",
            n=len(lengths),
            note=f"below {data.held_at:.0%} from {fallen:,} tokens"
            if fallen
            else f"no length is below {data.held_at:.0%}",
        ),
        _middle_gap(up_to),
    ]


def _middle_gap(found: Sequence[Found]) -> Measurement:
    """Accuracy at the ends less that in the middle; the interval is jackknifed over the keys."""
    depths = needle_data().depths
    ends = (min(depths), max(depths))
    keys = sorted({one.needle.key for one in found})

    def gap(chosen: list[int]) -> float:
        own = [one for one in found if one.needle.key in {keys[number] for number in chosen}]
        at_ends = [one.right for one in own if one.depth in ends]
        middle = [one.right for one in own if one.depth == 0.5]
        return _share(at_ends) - _share(middle) if at_ends and middle else math.nan

    value, low, high = over_texts(len(keys), gap)
    count = sum(one.depth in (*ends, 0.5) for one in found)
    return measured("middle_gap", value, n=count, ci95=(low, high), note="accuracy at the ends less the middle")


def _multi(subject: Subject, facts: list[Found]) -> Measurement:
    note = f"{needle_data().facts} facts in {facts[0].length:,} tokens"
    detail = {"wrong": [_told(one) for one in facts if not one.right][:WRONG_KEPT]}
    right = [one.right for one in facts]
    # A guess among the codes that the text names.
    chance = 1 / needle_data().facts
    return _rate("multi_needle_rate", facts, right, subject.seed, chance=chance, note=note, detail=detail)


def _rate(metric: str, found: Sequence[Found], right: Sequence[bool], seed: int, **fields: Any) -> Measurement:
    """Clusters are the needles' keys; where all are of one length, that is part of the name: only equals are paired."""
    lengths = {one.length for one in found}
    prefix = f"{lengths.pop()}/" if len(lengths) == 1 else ""
    by_key: dict[str, list[bool]] = defaultdict(list)
    for one, ok in zip(found, right, strict=True):
        by_key[f"{prefix}{one.needle.key:02}"].append(ok)
    return rate(metric, by_key, seed, **fields)


def _heatmap(found: list[Found]) -> list[dict[str, Any]]:
    cells: dict[tuple[int, float], list[Found]] = defaultdict(list)
    for one in found:
        if one.depth is not None:
            cells[one.length, one.depth].append(one)
    return [
        {
            "length": length,
            "depth": depth,
            "place": own[0].place,
            "n": len(own),
            "right": sum(one.right for one in own),
            "likeliest": sum(bool(one.likeliest) for one in own),
        }
        for (length, depth), own in cells.items()
    ]


def _told(one: Found) -> dict[str, Any]:
    return {
        "length": one.length,
        "depth": one.depth,
        "template": f"key/{one.needle.key + 1}",
        "said": one.needle.statement.strip(),
        "asked": needle_data().keys[one.needle.key].question,
        "expected": [one.needle.value],
        "got": one.got,
        "why": _score(one.needle, one.got).why,
    }


def _score(needle: Needle, answer: str) -> Score:
    return score_values(answer, [needle.value], [value for value in needle_data().values if value != needle.value])


def _share(right: Sequence[bool]) -> float:
    return sum(right) / len(right)
