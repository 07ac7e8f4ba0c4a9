"""C6: a conversation inside another, and two users in one stream. What one says is not what the other said."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from gt.data.dialogues.content import Template, canary_data, speaker_data
from gt.data.dialogues.items import RANKED_RIVALS, VALUES_PER_TEMPLATE, CanaryItem, spread
from gt.data.dialogues.recall import filler_turns


def nested_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Conversations of C6a, A - B - A in one stream: a fact, another conversation, and a question about the fact.

    The other conversation states a fact of the same kind, which is the trap, and one of another kind. The control has
    a neutral turn in place of A's fact.

    Args:
        n: Number of items, spread as those of `recall_items`.
        seed: Chooses templates, values, wordings and turns.

    Raises:
        ValueError: If `n` is more (or less) than the fixture can provide.
    """
    return _items("nested", canary_data().templates, _nested, n, seed)


def speaker_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Conversations of C6b: two users say the same of themselves with different values, and each asks for their own.

    The control has a neutral turn in place of what the user who asks last has said. Arguments and errors as of
    `nested_items`.
    """
    return _items("speakers", speaker_data().templates, _of_two, n, seed)


def _items(title: str, templates: tuple[Template, ...], make: _Maker, n: int, seed: int) -> list[CanaryItem]:
    rng = random.Random(f"{title} {seed}")
    placed = spread(templates, VALUES_PER_TEMPLATE, n, rng)
    values = {kind: rng.sample(own, len(own)) for kind, own in canary_data().kinds.items()}
    items = []
    for name, template, place in placed:
        value = values[template.kind][place % len(values[template.kind])]
        items.append(make(name, template, value, random.Random(f"{title} {seed}/{name}/{value}")))
    return items


_Maker = Callable[[str, Template, str, random.Random], CanaryItem]


def _nested(name: str, template: Template, value: str, rng: random.Random) -> CanaryItem:
    recall, words = canary_data(), speaker_data()
    like = rng.choice([one for one in recall.templates if one.kind == template.kind and one is not template])
    unlike = rng.choice([one for one in recall.templates if one.kind != template.kind])
    rivals = [other for other in recall.kinds[template.kind] if other != value]
    trap = rng.choice(rivals)
    neutral = rng.choice(recall.neutral)
    statement = template.statement.replace("{value}", value)
    other = like.statement.replace("{value}", trap)
    further = unlike.statement.replace("{value}", rng.choice(recall.kinds[unlike.kind]))
    rest = (
        *filler_turns(recall, 1, rng),
        recall.turn(f"{rng.choice(words.switches)} {other}", like.reply),
        recall.turn(further, unlike.reply),
        recall.query(f"{rng.choice(words.returns)} {template.question}"),
    )
    return CanaryItem(
        template=name,
        kind=template.kind,
        turns=(recall.turn(statement, template.reply), *rest),
        control=(recall.turn(neutral.text, neutral.reply), *rest),
        said=f"{statement} {other}",
        expected=(value,),
        rivals=tuple(rivals),
        candidates=_candidates(value, trap, rivals, rng),
        trap=trap,
    )


def _of_two(name: str, template: Template, value: str, rng: random.Random) -> CanaryItem:
    recall, words = canary_data(), speaker_data()
    kind = recall.kinds[template.kind]
    early, late = rng.sample(("first", "second"), 2)
    own = {late: value, early: rng.choice([other for other in kind if other != value])}
    people = dict(zip(own, rng.sample(recall.kinds["person"], 2), strict=True))
    statements = {who: template.statement.replace("{value}", own[who]) for who in own}
    neutral = rng.choice(recall.neutral)
    between, after = filler_turns(recall, 2, rng)

    def speaking(who: str, text: str) -> str:
        return f"{rng.choice(words.speakers).replace('{value}', people[who])} {text}"

    stated = {who: recall.turn(speaking(who, statements[who]), template.reply) for who in own}
    silent = stated | {late: recall.turn(speaking(late, neutral.text), neutral.reply)}
    asked = []
    for who, other in ((early, late), (late, early)):
        query = recall.query(speaking(who, template.question))
        rivals = [value for value in kind if value != own[who]]
        asked.append(
            CanaryItem(
                template=name,
                kind=template.kind,
                turns=(stated["first"], between, stated["second"], after, query),
                control=(silent["first"], between, silent["second"], after, query),
                said=f"{people[who]}: {statements[who]} {people[other]}: {statements[other]}",
                expected=(own[who],),
                rivals=tuple(rivals),
                candidates=_candidates(own[who], own[other], rivals, rng),
                trap=own[other],
            )
        )
    return msgspec.structs.replace(asked[1], before=(asked[0],))


def _candidates(value: str, trap: str, rivals: list[str], rng: random.Random) -> tuple[str, ...]:
    """The right value first, the other one that was said second, and others that were not said."""
    others = rng.sample([rival for rival in rivals if rival != trap], RANKED_RIVALS - 1)
    return tuple(f" {candidate}" for candidate in (value, trap, *others))
