"""Reading haystacks: one pass of many rows, each with a needle of its own, and questions forked from where it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gt.data.needles import Haystack, Needle
from gt.session import Sessions

if TYPE_CHECKING:
    from gt.subject import Subject

ANSWER_TOKENS = 16
LINE_END = "\n"


def hide(subject: Subject, haystack: Haystack, end: int, hidden: Mapping[int, Sequence[Needle]]) -> Sessions:
    """Read a haystack once, and with every needle in its place.

    What precedes a needle is read once, and the state there is where its rows begin; from there on all rows read the
    same text side by side.

    Args:
        subject: Whose model reads.
        haystack: The prose.
        end: How many tokens of it.
        hidden: Needles by the place where they lie, between 1 and `end`.

    Returns:
        The first conversation has read no needle; the others follow by place, then in the order given.
    """
    rows = Sessions(subject.model, subject.tokenizer, 1)
    total = sum(len(found) * (end - place) for place, found in hidden.items()) + end
    at = done = 0
    for place in (*sorted(hidden), end):
        if place > at:
            rows.feed_tokens([haystack.tokens[at:place]] * rows.count)
            done += rows.count * (place - at)
            subject.progress(done, total, f"haystack of {end:,} tokens")
            at = place
        if place in hidden:
            new = rows.take([0] * len(hidden[place]))
            new.feed([needle.statement for needle in hidden[place]])
            rows = Sessions.join([rows, new])
    return rows


def hide_all(subject: Subject, haystack: Haystack, end: int, facts: Sequence[Sequence[Needle]]) -> Sessions:
    """Read a haystack once for each row, with all needles of the row at equal distances.

    Args:
        subject: Whose model reads.
        haystack: The prose.
        end: How many tokens of it.
        facts: Needles by row; each row has equally many.
    """
    count = len(facts[0])
    places = [haystack.nearest((number + 0.5) / count * end) for number in range(count)]
    trunk = Sessions(subject.model, subject.tokenizer, 1)
    trunk.feed_tokens([haystack.tokens[: places[0]]])
    rows = trunk.take([0] * len(facts))
    for number, (place, following) in enumerate(zip(places, (*places[1:], end), strict=True)):
        rows.feed([row[number].statement for row in facts])
        rows.feed_tokens([haystack.tokens[place:following]] * rows.count)
        subject.progress(following, end, f"haystack of {end:,} tokens with {count} needles")
    return rows


def ask(rows: Sessions, of: Sequence[int], queries: Sequence[str]) -> list[str]:
    """Answers to one question each, of conversations that stay where they are; several may be asked of one."""
    asked = rows.take(of)
    asked.feed(queries)
    return asked.answer(ANSWER_TOKENS, LINE_END)


def ranked_first(rows: Sessions, of: Sequence[int], asked: Sequence[Needle]) -> list[bool]:
    """Whether the hidden code is likelier as the next words than each of a few others."""
    after = rows.take(of)
    after.feed([needle.query for needle in asked])
    own = after.score([f" {needle.value}" for needle in asked])
    best = [-float("inf")] * len(asked)
    for number in range(len(asked[0].rivals)):
        best = list(map(max, best, after.score([f" {needle.rivals[number]}" for needle in asked])))
    return [mine > other for mine, other in zip(own, best, strict=True)]
