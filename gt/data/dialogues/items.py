"""One conversation of a canary, and how conversations are spread over templates."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

VALUES_PER_TEMPLATE = 10
"""Items of one template at the usual size: 400 items are 40 templates (clusters) x 10 values."""

MAX_TEMPLATES = 40

RANKED_RIVALS = 3
"""Values that the right one is ranked against by likelihood: chance is 1 in 4."""


class CanaryItem(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation that ends in a question.

    Attributes:
        template: Name of the template: the cluster for intervals.
        kind: Kind of the answer, e.g. "color".
        turns: Texts to feed one after another; after the last, which ends in "Assistant:", the model answers.
        control: The same turns without what the answer depends on: what is right here is chance.
        said: What the answer depends on, in words.
        expected: Values that the answer must name.
        rivals: Values that it must not name, in a fixed order.
        candidates: Beginnings of answers to rank by likelihood, the right one first; may be empty.
        trap: The rival that the conversation itself suggests; empty where there is none.
        before: The same conversation up to earlier points, each with a question of its own. They are asked aside: the
            conversation goes on as if they had not been. All answers must be right. As many in every item of a canary.
    """

    template: str
    kind: str
    turns: tuple[str, ...]
    control: tuple[str, ...]
    said: str
    expected: tuple[str, ...]
    rivals: tuple[str, ...]
    candidates: tuple[str, ...] = ()
    trap: str = ""
    before: tuple[CanaryItem, ...] = ()


class OfKind(Protocol):
    """A template that asks for values of a kind."""

    @property
    def kind(self) -> str:
        """Kind of the answer."""


T = TypeVar("T", bound=OfKind)


def spread(templates: Sequence[T], values_each: int, n: int, rng: random.Random) -> list[tuple[str, T, int]]:
    """Spread n items evenly over the kinds of answer, and over the templates of each kind.

    Args:
        templates: Templates in the order of their file.
        values_each: Most items that a template can have.
        n: Number of items. Up to 400 they use 40 templates (fewer where n is less); beyond that, all.
        rng: Chooses the templates.

    Returns:
        For each item the name of its template, the template, and its number among the items of its kind. Any prefix
        of the list is balanced.

    Raises:
        ValueError: If n is less than 1, or more than the templates can make.
    """
    by_kind: dict[str, list[tuple[str, T]]] = {}
    for template in templates:
        of_kind = by_kind.setdefault(template.kind, [])
        of_kind.append((f"{template.kind}/{len(of_kind) + 1}", template))
    kinds = list(by_kind)
    rng.shuffle(kinds)
    for of_kind in by_kind.values():
        rng.shuffle(of_kind)
    longest = max(map(len, by_kind.values()))
    every = [by_kind[kind][turn] for turn in range(longest) for kind in kinds if turn < len(by_kind[kind])]
    if not 1 <= n <= len(every) * values_each:
        raise ValueError(f"n: got {n}, expected 1 to {len(every) * values_each}, the items that the fixture makes")
    chosen = every if n > MAX_TEMPLATES * VALUES_PER_TEMPLATE else every[:MAX_TEMPLATES]
    used = dict.fromkeys(by_kind, 0)
    columns = []
    for index, (name, template) in enumerate(chosen):
        own = n // len(chosen) + (index < n % len(chosen))
        columns.append([(name, template, used[template.kind] + step) for step in range(own)])
        used[template.kind] += own
    return [column[row] for row in range(max(map(len, columns))) for column in columns if row < len(column)]


def spread_values(
    templates: Sequence[T], kinds: Mapping[str, Sequence[str]], values_each: int, n: int, rng: random.Random
) -> list[tuple[str, T, str]]:
    """As `spread`, with a value for each item: those of a kind are spread evenly over its items.

    Args:
        templates: Templates in the order of their file.
        kinds: Values by kind.
        values_each: Most items that a template can have.
        n: Number of items.
        rng: Chooses the templates and the order of the values.

    Returns:
        For each item the name of its template, the template, and the value.

    Raises:
        ValueError: As `spread`.
    """
    placed = spread(templates, values_each, n, rng)
    values = {kind: rng.sample(list(candidates), len(candidates)) for kind, candidates in kinds.items()}
    return [
        (name, template, values[template.kind][place % len(values[template.kind])]) for name, template, place in placed
    ]
