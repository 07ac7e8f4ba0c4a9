"""C3: a preference, what "it" and "that" refer to, and a correction, each asked for turns later."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gt.data.dialogues.content import (
    CanaryData,
    Reference,
    Template,
    Turn,
    canary_data,
    correction_data,
    preference_data,
    reference_data,
)
from gt.data.dialogues.items import RANKED_RIVALS, VALUES_PER_TEMPLATE, CanaryItem, spread_values
from gt.data.dialogues.recall import filler_turns

MOST_BETWEEN = 2
"""Most unrelated turns between a statement and its correction, and between the last comment and the question."""


def preference_items(fillers: int, n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Conversations of C3a (4 fillers): one of two things is preferred; after unrelated turns it is asked which.

    The other thing is a rival. The control has a neutral turn in the statement's place.

    Args:
        fillers: Unrelated turns between statement and question, at most as many as there are in the fixture.
        n: Number of items, spread as those of `recall_items`.
        seed: Chooses templates, values, fillers and replies.

    Raises:
        ValueError: If `n` is more (or less) than the fixture can provide.
    """
    data = canary_data()
    rng = random.Random(f"preferences {seed}")
    placed = spread_values(preference_data().templates, data.kinds, VALUES_PER_TEMPLATE, n, rng)
    return [_preference(data, name, template, value, fillers, seed) for name, template, value in placed]


def reference_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Conversations of C3b: two things of a kind are named; what is said of each calls it "it" or "that".

    The comment follows in the next turn, or after one turn in which nothing is named. In half of the conversations
    the first thing is asked for, in half the second; the other one is a rival. The control lacks the turn that names
    the asked one. Arguments and errors as of `preference_items`.
    """
    data = canary_data()
    rng = random.Random(f"references {seed}")
    placed = spread_values(reference_data().templates, data.kinds, VALUES_PER_TEMPLATE, n, rng)
    return [_reference(data, name, template, value, seed) for name, template, value in placed]


def correction_items(fillers: int, n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Conversations of C3c (2 fillers): a fact of `canaries.yaml` is stated, corrected, and asked for after fillers.

    Up to two unrelated turns stand between statement and correction. The first value is a rival. The control has a
    neutral turn in place of the correction: there the first statement holds. Arguments and errors as of
    `preference_items`.
    """
    data = canary_data()
    rng = random.Random(f"corrections {seed}")
    placed = spread_values(data.templates, data.kinds, VALUES_PER_TEMPLATE, n, rng)
    return [_correction(data, name, template, value, fillers, seed) for name, template, value in placed]


def _preference(data: CanaryData, name: str, template: Template, value: str, fillers: int, seed: int) -> CanaryItem:
    rng = random.Random(f"preference {seed}/{name}/{value}")
    other, *further = _rivals(data, template.kind, value, rng)
    neutral = rng.choice(data.neutral)
    statement = template.statement.replace("{value}", value).replace("{other}", other)
    rest = [*filler_turns(data, fillers, rng), data.query(template.question)]
    return _item(
        name,
        template.kind,
        turns=[data.turn(statement, template.reply), *rest],
        control=[data.turn(neutral.text, neutral.reply), *rest],
        said=statement,
        values=(value, other, *further),
    )


def _reference(data: CanaryData, name: str, template: Reference, value: str, seed: int) -> CanaryItem:
    rng = random.Random(f"reference {seed}/{name}/{value}")
    other, *further = _rivals(data, template.kind, value, rng)
    beside = rng.choice([one for one in reference_data().templates if one.kind == template.kind and one != template])
    between = rng.sample(data.neutral, 3)
    missing = between.pop()
    named, unnamed = _scene(data, template, value, between[0], missing, rng)
    second, _ = _scene(data, beside, other, between[1], missing, rng)
    rest = [*filler_turns(data, rng.randrange(MOST_BETWEEN + 1), rng), data.query(template.question)]
    first_is_asked = rng.random() < 0.5
    return _item(
        name,
        template.kind,
        turns=[*named, *second, *rest] if first_is_asked else [*second, *named, *rest],
        control=[*unnamed, *second, *rest] if first_is_asked else [*second, *unnamed, *rest],
        said=f"{template.statement.replace('{value}', value)} {template.comment}",
        values=(value, other, *further),
    )


def _scene(
    data: CanaryData, template: Reference, value: str, between: Turn, missing: Turn, rng: random.Random
) -> tuple[list[str], list[str]]:
    """The turns that name a thing and say something of it, and the same without its name."""
    named = data.turn(template.statement.replace("{value}", value), rng.choice(data.filler_replies))
    rest = [data.turn(between.text, between.reply)] if rng.random() < 0.5 else []
    rest.append(data.turn(template.comment, rng.choice(data.filler_replies)))
    return [named, *rest], [data.turn(missing.text, missing.reply), *rest]


def _correction(data: CanaryData, name: str, template: Template, value: str, fillers: int, seed: int) -> CanaryItem:
    rng = random.Random(f"correction {seed}/{name}/{value}")
    other, *further = _rivals(data, template.kind, value, rng)
    correction, neutral = rng.choice(correction_data().corrections), rng.choice(data.neutral)
    before = rng.randrange(MOST_BETWEEN + 1)
    between = filler_turns(data, before + fillers, rng)
    statement = template.statement.replace("{value}", other)
    corrected = correction.text.replace("{value}", value).replace("{other}", other)
    start = [data.turn(statement, template.reply), *between[:before]]
    rest = [*between[before:], data.query(template.question)]
    return _item(
        name,
        template.kind,
        turns=[*start, data.turn(corrected, correction.reply), *rest],
        control=[*start, data.turn(neutral.text, neutral.reply), *rest],
        said=f"{statement} {corrected}",
        values=(value, other, *further),
    )


def _rivals(data: CanaryData, kind: str, value: str, rng: random.Random) -> list[str]:
    """The other values of a kind; the first one is what the conversation names."""
    others = [one for one in data.kinds[kind] if one != value]
    return rng.sample(others, len(others))


def _item(
    name: str, kind: str, turns: Sequence[str], control: Sequence[str], said: str, values: Sequence[str]
) -> CanaryItem:
    value, *rivals = values
    return CanaryItem(
        template=name,
        kind=kind,
        turns=tuple(turns),
        control=tuple(control),
        said=said,
        expected=(value,),
        rivals=tuple(rivals),
        candidates=tuple(f" {candidate}" for candidate in values[: RANKED_RIVALS + 1]),
    )
