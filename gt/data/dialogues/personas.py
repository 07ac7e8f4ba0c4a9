"""C5: the assistant is told who it is, other things are talked of, and it is asked about itself."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

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
    recall = canary_data()
    if not 0 <= fillers <= len(recall.fillers):
        raise ValueError(f"fillers: got {fillers}, expected 0 to {len(recall.fillers)}, the fillers in canaries.yaml")
    return _items("", n, seed, lambda persona: persona.asked(persona.first, persona.fill(fillers)))


def consistent_persona_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Conversations of C5b: all three facts of a persona are asked, after two, four and six ordinary turns.

    The control lacks the fact that is asked last. Arguments and errors as of `persona_items`.
    """

    def item(persona: _Persona) -> CanaryItem:
        others = [place for place in range(FACTS) if place != persona.first]
        turns = persona.fill(2 * FACTS)
        asked = [
            persona.asked(place, turns[: 2 * number], lacking=persona.first)
            for number, place in enumerate((*others, persona.first), start=1)
        ]
        return msgspec.structs.replace(asked[-1], before=tuple(asked[:-1]))

    return _items("consistent ", n, seed, item)


def doubted_persona_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Conversations of C5c: the user denies a fact of the persona and claims another value; then it is asked.

    Right is the fact that was given; the claim is the trap. The assistant's reply to the claim, which is given, denies
    it. An ordinary turn comes before it and one after it. Control, arguments and errors as of `persona_items`.
    """

    def item(persona: _Persona) -> CanaryItem:
        template, value = persona.facts[persona.first]
        doubt = persona.rng.choice(persona_data().doubts)
        trap = persona.rng.choice([other for other in persona.kinds[template.kind] if other != value])
        claim = f"{doubt.text} {template.statement.replace('{value}', trap)}"
        before, after = persona.fill(2)
        made = persona.asked(persona.first, [before, canary_data().turn(claim, doubt.reply), after])
        others = [one for one in made.candidates if one != f" {trap}"][:RANKED_RIVALS]
        return msgspec.structs.replace(
            made, said=f"{made.said} {claim}", candidates=(others[0], f" {trap}", *others[1:]), trap=trap
        )

    return _items("doubted ", n, seed, item)


class _Persona:
    """Three facts of different kinds, one of which a template and a value were chosen for."""

    def __init__(self, title: str, name: str, template: Template, value: str, index: int, seed: int) -> None:
        recall, data = canary_data(), persona_data()
        self.kinds = {**recall.kinds, **data.kinds}
        self.rng = rng = random.Random(f"{title}persona {seed}/{name}/{value}")
        self.name, self.index = name, index
        others = rng.sample(sorted({one.kind for one in data.templates} - {template.kind}), FACTS - 1)
        chosen = (template, value)
        self.facts = [chosen]
        for kind in others:
            self.facts.append(
                (rng.choice([one for one in data.templates if one.kind == kind]), rng.choice(self.kinds[kind]))
            )
        rng.shuffle(self.facts)
        self.first = next(place for place, fact in enumerate(self.facts) if fact is chosen)
        self.opening = rng.choice(data.openings)

    def fill(self, count: int) -> list[str]:
        """Ordinary turns."""
        return filler_turns(canary_data(), count, self.rng)

    def asked(self, place: int, turns: list[str], lacking: int | None = None) -> CanaryItem:
        """The conversation up to a question about one of the facts; its control lacks that one, or another."""
        recall = canary_data()
        template, value = self.facts[place]
        query = recall.query(template.question)
        stated = [one.statement.replace("{value}", own) for one, own in self.facts]
        kept = [text for number, text in enumerate(stated) if number != (place if lacking is None else lacking)]
        own_rivals = [other for other in self.kinds[template.kind] if other != value]
        ranked = [own_rivals[(self.index + number) % len(own_rivals)] for number in range(RANKED_RIVALS)]
        contradictions = [
            other for one, own in self.facts if one is not template for other in self.kinds[one.kind] if other != own
        ]
        return CanaryItem(
            template=self.name,
            kind=template.kind,
            turns=(recall.turn(" ".join((self.opening.text, *stated)), self.opening.reply), *turns, query),
            control=(recall.turn(" ".join((self.opening.text, *kept)), self.opening.reply), *turns, query),
            said=" ".join(stated),
            expected=(value,),
            rivals=(*own_rivals, *contradictions),
            candidates=tuple(f" {candidate}" for candidate in (value, *ranked)),
        )


def _items(title: str, n: int, seed: int, make: Callable[[_Persona], CanaryItem]) -> list[CanaryItem]:
    data = persona_data()
    rng = random.Random(f"{title}personas {seed}")
    placed = spread(data.templates, VALUES_PER_TEMPLATE, n, rng)
    kinds = {**canary_data().kinds, **data.kinds}
    values = {kind: rng.sample(candidates, len(candidates)) for kind, candidates in kinds.items()}
    items = []
    for index, (name, template, place) in enumerate(placed):
        circle = values[template.kind]
        items.append(make(_Persona(title, name, template, circle[place % len(circle)], index, seed)))
    return items
