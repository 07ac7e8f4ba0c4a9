"""C5: the assistant is told who it is, other things are talked of, and it is asked about itself."""

from __future__ import annotations

import random

from gt.data.dialogues.content import Template, canary_data, persona_data
from gt.data.dialogues.items import RANKED_RIVALS, VALUES_PER_TEMPLATE, CanaryItem, spread
from gt.data.dialogues.recall import filler_turns

FACTS = 3
"""Facts of a persona, each of another kind."""


def persona_items(fillers: int, n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Conversations of C5a (2 fillers): a persona of three facts, ordinary turns, and a question about one of them.

    The answer must not contradict the persona: the rivals are the other values of the kinds of all three facts. The
    control is the same conversation with a persona that lacks the fact that is asked.

    Args:
        fillers: Unrelated turns between persona and question, at most as many as there are in the fixture.
        n: Number of items, spread as those of `recall_items`.
        seed: Chooses templates, values, fillers and replies.

    Raises:
        ValueError: If `fillers` or `n` is more (or less) than the fixture can provide.
    """
    recall, data = canary_data(), persona_data()
    if not 0 <= fillers <= len(recall.fillers):
        raise ValueError(f"fillers: got {fillers}, expected 0 to {len(recall.fillers)}, the fillers in canaries.yaml")
    rng = random.Random(f"personas {seed}")
    placed = spread(data.templates, VALUES_PER_TEMPLATE, n, rng)
    kinds = {**recall.kinds, **data.kinds}
    values = {kind: rng.sample(candidates, len(candidates)) for kind, candidates in kinds.items()}
    items = []
    for index, (name, template, place) in enumerate(placed):
        circle = values[template.kind]
        items.append(_item(name, template, circle[place % len(circle)], fillers, index, seed))
    return items


def _item(name: str, template: Template, value: str, fillers: int, index: int, seed: int) -> CanaryItem:
    recall, data = canary_data(), persona_data()
    kinds = {**recall.kinds, **data.kinds}
    rng = random.Random(f"persona {seed}/{name}/{value}")
    others = rng.sample(sorted({one.kind for one in data.templates} - {template.kind}), FACTS - 1)
    facts = [(template, value)]
    for kind in others:
        facts.append((rng.choice([one for one in data.templates if one.kind == kind]), rng.choice(kinds[kind])))
    rng.shuffle(facts)
    opening = rng.choice(data.openings)
    turns = filler_turns(recall, fillers, rng)
    query = recall.query(template.question)
    stated = [one.statement.replace("{value}", own) for one, own in facts]
    unasked = [one.statement.replace("{value}", own) for one, own in facts if one is not template]
    own_rivals = [other for other in kinds[template.kind] if other != value]
    ranked = [own_rivals[(index + number) % len(own_rivals)] for number in range(RANKED_RIVALS)]
    contradictions = [other for one, own in facts if one is not template for other in kinds[one.kind] if other != own]
    return CanaryItem(
        template=name,
        kind=template.kind,
        turns=(recall.turn(" ".join((opening.text, *stated)), opening.reply), *turns, query),
        control=(recall.turn(" ".join((opening.text, *unasked)), opening.reply), *turns, query),
        said=" ".join(stated),
        expected=(value,),
        rivals=(*own_rivals, *contradictions),
        candidates=tuple(f" {candidate}" for candidate in (value, *ranked)),
    )
