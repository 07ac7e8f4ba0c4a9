"""C4a: how to answer is said once, several things are named, and asked for later."""

from __future__ import annotations

import random

from gt.data.dialogues.content import FormatData, ListTemplate, canary_data, format_data
from gt.data.dialogues.items import VALUES_PER_TEMPLATE, CanaryItem, spread
from gt.data.dialogues.recall import filler_turns

FEWEST, MOST = 2, 5
"""Things in a list."""


def bullet_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Conversations of C4a: the instruction, one to three ordinary turns, and a question whose answer is a list.

    The user names the things in one of the ordinary turns. The control has a neutral turn in place of the instruction.

    Args:
        n: Number of items, spread as those of `recall_items`.
        seed: Chooses templates, values, wordings and turns.

    Raises:
        ValueError: If `n` is more (or less) than the fixture can provide.
    """
    data = format_data()
    placed = spread(data.lists, VALUES_PER_TEMPLATE, n, random.Random(f"formats {seed}"))
    return [_item(data, name, template, place, seed) for name, template, place in placed]


def _item(data: FormatData, name: str, template: ListTemplate, place: int, seed: int) -> CanaryItem:
    recall = canary_data()
    rng = random.Random(f"format {seed}/{name}/{place}")
    candidates = recall.kinds[template.kind]
    values = rng.sample(candidates, FEWEST + place % (MOST - FEWEST + 1))
    named = [template.each.replace("{value}", value) for value in values]
    statement = template.statement.replace("{values}", f"{', '.join(named[:-1])} and {named[-1]}")
    instruction, neutral = rng.choice(data.instructions), rng.choice(recall.neutral)
    turns = filler_turns(recall, rng.randrange(3), rng)
    turns.insert(rng.randrange(len(turns) + 1), recall.turn(statement, template.reply))
    query = recall.query(template.question)
    bulleted = "".join(f"\n- {value}" for value in values)
    return CanaryItem(
        template=name,
        kind=template.kind,
        turns=(recall.turn(instruction.text, instruction.reply), *turns, query),
        control=(recall.turn(neutral.text, neutral.reply), *turns, query),
        said=f"{instruction.text} {statement}",
        expected=tuple(values),
        rivals=tuple(other for other in candidates if other not in values),
        candidates=(f"{bulleted}\n", f" {', '.join(values[:-1])} and {values[-1]}.\n"),
    )
