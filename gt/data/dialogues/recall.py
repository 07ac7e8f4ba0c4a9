"""C1: a fact is stated, other things are talked of, and the fact is asked for."""

from __future__ import annotations

import random

from gt.data.dialogues.content import CanaryData, Template, canary_data
from gt.data.dialogues.items import RANKED_RIVALS, CanaryItem, spread


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
    placed = spread(data.templates, min(map(len, data.kinds.values())), n, rng)
    values = {kind: rng.sample(candidates, len(candidates)) for kind, candidates in data.kinds.items()}
    items = []
    for index, (name, template, place) in enumerate(placed):
        circle = values[template.kind]
        items.append(_item(data, name, template, circle[place % len(circle)], fillers, index, seed))
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
