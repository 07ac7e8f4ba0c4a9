"""C1: a fact is stated, other things are talked of, and the fact is asked for."""

from __future__ import annotations

import random

import msgspec

from gt.data.dialogues.content import CanaryData, Template, canary_data
from gt.data.dialogues.items import RANKED_RIVALS, CanaryItem, spread_values


def recall_items(fillers: int, n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Conversations of C1a (no fillers), C1b-lite (3), C1b (5) and C1c (10).

    Templates are spread evenly over the kinds of answer, values evenly over the templates of their kind. With one
    seed, the facts are the same at every number of fillers, and the first fillers are the same too, so that rates at
    different distances differ by the distance alone. The control has a neutral turn in the statement's place.

    Args:
        fillers: Unrelated turns between statement and question, at most as many as there are fillers in the fixture.
        n: Number of items. Up to 400 they use 40 templates (fewer where n is less) with n / 40 values each; beyond
            that, all templates.
        seed: Chooses templates, values, fillers and replies.

    Raises:
        ValueError: If `fillers` or `n` is more (or less) than the fixture can provide.
    """
    data = canary_data()
    if not 0 <= fillers <= len(data.fillers):
        raise ValueError(f"fillers: got {fillers}, expected 0 to {len(data.fillers)}, the fillers in canaries.yaml")
    rng = random.Random(f"facts {seed}")
    placed = spread_values(data.templates, data.kinds, min(map(len, data.kinds.values())), n, rng)
    return [
        _item(data, name, template, value, fillers, index, seed) for index, (name, template, value) in enumerate(placed)
    ]


def two_fact_items(fillers: int, n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Conversations of C1d (5 fillers): two facts of different kinds, and one question that needs both.

    The facts are those of `recall_items`, each with one of another kind after it. The control has a neutral turn in
    place of the first, so that one of the two is known. Arguments and errors as of `recall_items`.
    """
    data = canary_data()
    first = recall_items(fillers, n, seed)
    rng = random.Random(f"pairs {seed}")
    items = []
    for item in first:
        template = rng.choice([other for other in data.templates if other.kind != item.kind])
        value = rng.choice(data.kinds[template.kind])
        statement = template.statement.replace("{value}", value)
        fact, *between, query = item.turns
        second = data.turn(statement, template.reply)
        asked = template.question[0].lower() + template.question[1:]
        both = query.replace("?\nAssistant:", f", and {asked}\nAssistant:")
        rivals = [other for other in data.kinds[template.kind] if other != value]
        items.append(
            msgspec.structs.replace(
                item,
                turns=(fact, second, *between, both),
                control=(item.control[0], second, *between, both),
                said=f"{item.said} {statement}",
                expected=(*item.expected, value),
                rivals=(*item.rivals, *rivals),
                candidates=tuple(f"{candidate} and {value}" for candidate in item.candidates),
            )
        )
    return items


def filler_turns(data: CanaryData, count: int, rng: random.Random) -> list[str]:
    """Turns about nothing that is asked; the first ones are the same whatever the count."""
    between = rng.sample(data.fillers, len(data.fillers))[:count]
    return [data.turn(filler, rng.choice(data.filler_replies)) for filler in between]


def _item(
    data: CanaryData, name: str, template: Template, value: str, fillers: int, index: int, seed: int
) -> CanaryItem:
    rng = random.Random(f"talk {seed}/{name}/{value}")
    neutral = rng.choice(data.neutral)
    turns = filler_turns(data, fillers, rng)
    query = data.query(template.question)
    statement = template.statement.replace("{value}", value)
    rivals = tuple(other for other in data.kinds[template.kind] if other != value)
    ranked = [rivals[(index + number) % len(rivals)] for number in range(RANKED_RIVALS)]
    return CanaryItem(
        template=name,
        kind=template.kind,
        turns=(data.turn(statement, template.reply), *turns, query),
        control=(data.turn(neutral.text, neutral.reply), *turns, query),
        said=statement,
        expected=(value,),
        rivals=rivals,
        candidates=tuple(f" {candidate}" for candidate in (value, *ranked)),
    )
