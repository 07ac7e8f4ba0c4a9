"""C2: what was said in several places is needed for one answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from gt.data.dialogues.content import CanaryData, ConstraintData, Remark, Template, canary_data, constraint_data
from gt.data.dialogues.items import RANKED_RIVALS, VALUES_PER_TEMPLATE, CanaryItem, spread, spread_values
from gt.data.dialogues.recall import filler_turns

DEPTHS = (0.05, 0.75, 0.97)
"""Shares of the unrelated turns that precede the facts of C2a."""

SHARED = 5
"""Conversations of C2a that begin with the same fact, so that most of the text is read once for all of them."""

FEWEST, MOST = 2, 4
"""Things to avoid in a conversation of C2b."""

MOST_LIKED = 2


def three_fact_items(length: int, n: int = 400, seed: int = 0, *, tokens: Callable[[str], int]) -> list[CanaryItem]:
    """Conversations of C2a: facts of three kinds in 2,000 tokens of unrelated turns, and one question that needs all.

    The unrelated turns are the same in all conversations, and five that follow each other in a template have the first
    fact in common: a reader who reads once what several begin with reads two fifths of the text. The control has a
    neutral turn in place of the last fact.

    Args:
        length: Tokens of the longest conversation, with its question; the others are a few tokens shorter.
        n: Number of items, spread as those of `recall_items` by their first facts.
        seed: Chooses templates, values, fillers and replies.
        tokens: Counts the tokens of a turn. Facts stand where turns end, nearest to their depths.

    Raises:
        ValueError: If `n` is more (or less) than the fixture can provide, or `length` leaves no room for other turns.
    """
    data = canary_data()
    rng = random.Random(f"three facts {seed}")
    placed = spread(data.templates, VALUES_PER_TEMPLATE, n, rng)
    values = {kind: rng.sample(candidates, len(candidates)) for kind, candidates in data.kinds.items()}
    neutral = rng.choice(data.neutral)
    told = []
    for name, template, place in placed:
        circle = values[template.kind]
        own = random.Random(f"three facts {seed}/{name}/{place}")
        first = (template, circle[place // SHARED % len(circle)])
        told.append((name, _facts_beside(data, first, own)))
    conversations = [_turns_of_facts(data, facts) for _, facts in told]
    room = length - max(sum(map(tokens, turns)) for turns in conversations)
    stretches = _stretches(data, room, tokens, rng)
    items = []
    for index, ((name, facts), (*statements, query)) in enumerate(zip(told, conversations, strict=True)):
        instead = [*statements[:-1], data.turn(neutral.text, neutral.reply)]
        answers = [value for _, value in facts]
        rivals = [other for template, value in facts for other in data.kinds[template.kind] if other != value]
        own_rivals = rivals[: len(data.kinds[facts[0][0].kind]) - 1]
        ranked = [own_rivals[(index + number) % len(own_rivals)] for number in range(RANKED_RIVALS)]
        items.append(
            CanaryItem(
                template=name,
                kind=facts[0][0].kind,
                turns=(*_between(stretches, statements), query),
                control=(*_between(stretches, instead), query),
                said=" ".join(template.statement.replace("{value}", value) for template, value in facts),
                expected=tuple(answers),
                rivals=tuple(rivals),
                candidates=tuple(f" {_joined([value, *answers[1:]])}" for value in (answers[0], *ranked)),
            )
        )
    return items


def constraint_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Conversations of C2b: two to four things to avoid, one or two that are loved, and what is to be avoided?

    They come in any order, some with an unrelated turn between them; one that is loved is of a kind of which another
    is to be avoided. What is loved, or was not said, must not be named. The control has a neutral turn in place of
    the template's own statement.

    Args:
        n: Number of items, spread as those of `recall_items`.
        seed: Chooses templates, values, order, fillers and replies.

    Raises:
        ValueError: If `n` is more (or less) than the fixture can provide.
    """
    data, constraints = canary_data(), constraint_data()
    rng = random.Random(f"constraints {seed}")
    placed = spread_values(constraints.avoided, data.kinds, VALUES_PER_TEMPLATE, n, rng)
    return [_constraint(data, constraints, name, remark, value, seed) for name, remark, value in placed]


Fact = tuple[Template, str]


def _facts_beside(data: CanaryData, first: Fact, rng: random.Random) -> list[Fact]:
    """A fact, and two of other kinds."""
    facts = [first]
    for kind in rng.sample([kind for kind in data.kinds if kind != first[0].kind], len(DEPTHS) - 1):
        template = rng.choice([one for one in data.templates if one.kind == kind])
        facts.append((template, rng.choice(data.kinds[kind])))
    return facts


def _turns_of_facts(data: CanaryData, facts: Sequence[Fact]) -> list[str]:
    """The turns that state facts, and the question for all of them."""
    first, *others = (template.question.removesuffix("?") for template, _ in facts)
    parts = [first, *(question[0].lower() + question[1:] for question in others)]
    stated = [data.turn(template.statement.replace("{value}", value), template.reply) for template, value in facts]
    return [*stated, data.query(f"{', '.join(parts[:-1])}, and {parts[-1]}?")]


def _stretches(data: CanaryData, room: int, tokens: Callable[[str], int], rng: random.Random) -> list[list[str]]:
    """Unrelated turns of so many tokens, cut at the depths; where they run out, they begin again in another order."""
    turns: list[str] = []
    ends = [0]
    while True:
        for turn in filler_turns(data, len(data.fillers), rng):
            if ends[-1] + tokens(turn) > room:
                if not turns:
                    raise ValueError(
                        f"length: facts and question leave {room} tokens, expected room for a turn: ask more"
                    )
                cuts = [min(range(len(ends)), key=lambda end: abs(ends[end] - depth * ends[-1])) for depth in DEPTHS]
                return [turns[start:end] for start, end in zip((0, *cuts), (*cuts, len(turns)), strict=True)]
            turns.append(turn)
            ends.append(ends[-1] + tokens(turn))


def _between(stretches: Sequence[Sequence[str]], statements: Sequence[str]) -> list[str]:
    """Stretches of turns with a statement after each but the last."""
    *others, last = stretches
    return [turn for stretch, told in zip(others, statements, strict=True) for turn in (*stretch, told)] + [*last]


def _constraint(
    data: CanaryData, constraints: ConstraintData, name: str, remark: Remark, value: str, seed: int
) -> CanaryItem:
    rng = random.Random(f"constraint {seed}/{name}/{value}")
    others = rng.sample([one for one in constraints.avoided if one.kind != remark.kind], rng.randint(FEWEST, MOST) - 1)
    avoided = [(remark, value)]
    for one in others:
        avoided.append((one, _unused(data, one.kind, avoided, rng)))
    liked: list[tuple[Remark, str]] = []
    kinds = {one.kind for one, _ in avoided}
    for one in rng.sample([one for one in constraints.liked if one.kind in kinds], rng.randint(1, MOST_LIKED)):
        liked.append((one, _unused(data, one.kind, [*avoided, *liked], rng)))
    said = rng.sample([*avoided, *liked], len(avoided) + len(liked))
    neutral = rng.choice(data.neutral)
    fillers = filler_turns(data, len(said), rng)
    turns, control = [], []
    for told, filler in zip(said, fillers, strict=True):
        own, own_value = told
        turns.append(data.turn(own.statement.replace("{value}", own_value), own.reply))
        control.append(data.turn(neutral.text, neutral.reply) if told == avoided[0] else turns[-1])
        if rng.random() < 0.5:
            turns.append(filler)
            control.append(filler)
    query = data.query(rng.choice(constraints.questions))
    in_order = [own for one in said if one in avoided for own in one[1:]]
    loved = [own for _, own in liked]
    possible = [one for kind in dict.fromkeys(one.kind for one, _ in (*liked, *avoided)) for one in data.kinds[kind]]
    rivals = [*loved, *(one for one in possible if one not in in_order and one not in loved)]
    return CanaryItem(
        template=name,
        kind=remark.kind,
        turns=(*turns, query),
        control=(*control, query),
        said=" ".join(one.statement.replace("{value}", own) for one, own in said),
        expected=tuple(in_order),
        rivals=tuple(rivals),
        candidates=tuple(
            f" {_joined([instead if one == value else one for one in in_order])}"
            for instead in (value, *rivals[:RANKED_RIVALS])
        ),
    )


def _unused(data: CanaryData, kind: str, used: Sequence[tuple[Remark, str]], rng: random.Random) -> str:
    """A value of a kind that was not said."""
    taken = {value for _, value in used}
    return rng.choice([value for value in data.kinds[kind] if value not in taken])


def _joined(values: Sequence[str]) -> str:
    return f"{', '.join(values[:-1])} and {values[-1]}"
