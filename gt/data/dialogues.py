"""Canary conversations: state a fact, talk of other things, ask for it; and the scorer of the answer."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import cache

import msgspec

from gt.resources import fixtures_dir

VALUES_PER_TEMPLATE = 10
"""Items of one template at the usual size: 400 items are 40 templates (clusters) x 10 values."""

MAX_TEMPLATES = 40


class Template(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way of stating and asking a fact; `{value}` in the statement stands for the answer."""

    kind: str
    statement: str
    question: str
    reply: str | None = None


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the user says and what the assistant replies."""

    text: str
    reply: str


class TurnFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How turns are written: `turn` for a finished one, `query` for the one that the model must finish."""

    turn: str
    query: str


class CanaryData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `fixtures/canaries.yaml`, whose header explains each part."""

    format: TurnFormat
    default_reply: str
    kinds: dict[str, tuple[str, ...]]
    templates: tuple[Template, ...]
    neutral: tuple[Turn, ...]
    filler_replies: tuple[str, ...]
    fillers: tuple[str, ...]


class RecallItem(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation in which a stated fact is asked for.

    Attributes:
        template: Name of the template: the cluster for intervals.
        kind: Kind of the answer, e.g. "color".
        turns: Texts to feed one after another; after the last, which ends in "Assistant:", the model answers.
        control: The same turns with a neutral one in place of the statement: what is right here is chance.
        answer: The stated value.
        rivals: The other values of the kind, in a fixed order.
    """

    template: str
    kind: str
    turns: tuple[str, ...]
    control: tuple[str, ...]
    answer: str
    rivals: tuple[str, ...]


@cache
def canary_data() -> CanaryData:
    """Read `fixtures/canaries.yaml`.

    Raises:
        FileNotFoundError: If the installation is incomplete.
        msgspec.ValidationError: If the file is not what its header says; names the place.
    """
    # The order of templates is what a name refers to: "color/2" is the second template of its kind.
    return msgspec.yaml.decode((fixtures_dir() / "canaries.yaml").read_bytes(), type=CanaryData)


def recall_items(fillers: int, n: int = 400, seed: int = 0) -> list[RecallItem]:
    """Conversations of C1a (no fillers), C1b-lite (3), C1b (5) and C1c (10).

    Templates are spread evenly over the kinds of answer, values evenly over the templates of their kind. With one
    seed, the facts are the same at every number of fillers, and the first fillers are the same too, so that rates at
    different distances differ by the distance alone.

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
    facts = _facts(data, n, seed)
    return [_item(data, name, template, value, fillers, f"{seed}/{name}/{value}") for name, template, value in facts]


def score_recall(generated: str, answer: str, rivals: Sequence[str]) -> bool:
    """Whether a generated text gives the answer and none of its rivals.

    Only the first line counts, up to where the model begins another turn; values are found as whole words,
    whatever their case and the spaces between their words. An empty first line is no answer.
    """
    line = re.split(r"\n|\r|<\||\b(?:User|Assistant):", generated.lstrip(" \t"), maxsplit=1)[0]
    return _mentions(line, answer) and not any(_mentions(line, rival) for rival in rivals)


def _mentions(text: str, value: str) -> bool:
    words = r"\s+".join(re.escape(word) for word in value.casefold().split())
    return re.search(rf"(?<!\w){words}(?!\w)", text.casefold()) is not None


def _facts(data: CanaryData, n: int, seed: int) -> list[tuple[str, Template, str]]:
    """Name, template and value of each item: n of them, balanced, in an order that any prefix keeps balanced."""
    rng = random.Random(f"facts {seed}")
    by_kind: dict[str, list[tuple[str, Template]]] = {kind: [] for kind in data.kinds}
    for template in data.templates:
        of_kind = by_kind[template.kind]
        of_kind.append((f"{template.kind}/{len(of_kind) + 1}", template))
    kinds = list(by_kind)
    rng.shuffle(kinds)
    for templates in by_kind.values():
        rng.shuffle(templates)
    longest = max(map(len, by_kind.values()))
    spread = [by_kind[kind][turn] for turn in range(longest) for kind in kinds if turn < len(by_kind[kind])]

    values_each = min(map(len, data.kinds.values()))
    if not 1 <= n <= len(spread) * values_each:
        raise ValueError(f"n: got {n}, expected 1 to {len(spread) * values_each}, the items that canaries.yaml makes")
    chosen = spread if n > MAX_TEMPLATES * VALUES_PER_TEMPLATE else spread[:MAX_TEMPLATES]
    values = {kind: rng.sample(candidates, len(candidates)) for kind, candidates in data.kinds.items()}
    used = dict.fromkeys(data.kinds, 0)
    columns = []
    for index, (name, template) in enumerate(chosen):
        own = n // len(chosen) + (index < n % len(chosen))
        circle, start = values[template.kind], used[template.kind]
        columns.append([(name, template, circle[(start + step) % len(circle)]) for step in range(own)])
        used[template.kind] += own
    return [column[row] for row in range(max(map(len, columns))) for column in columns if row < len(column)]


def _item(data: CanaryData, name: str, template: Template, value: str, fillers: int, seed: str) -> RecallItem:
    rng = random.Random(f"talk {seed}")
    neutral = rng.choice(data.neutral)
    between = rng.sample(data.fillers, len(data.fillers))[:fillers]
    turns = [_turn(data, filler, rng.choice(data.filler_replies)) for filler in between]
    query = data.format.query.format(text=template.question)
    statement = template.statement.replace("{value}", value)
    fact = _turn(data, statement, template.reply or data.default_reply)
    return RecallItem(
        template=name,
        kind=template.kind,
        turns=(fact, *turns, query),
        control=(_turn(data, neutral.text, neutral.reply), *turns, query),
        answer=value,
        rivals=tuple(other for other in data.kinds[template.kind] if other != value),
    )


def _turn(data: CanaryData, text: str, reply: str) -> str:
    return data.format.turn.format(text=text, reply=reply)
