"""How items of a synthetic task are drawn from the wordings and kinds of `fixtures/synthetic.yaml`."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec

from gt.data.dialogues.content import CanaryData, Wording, canary_data
from gt.data.dialogues.items import RANKED_RIVALS, CanaryItem


class Draw(msgspec.Struct, frozen=True):
    """What one item of a task is made from.

    Attributes:
        template: Name of the cluster: wording and kinds.
        wording: How it is put.
        kinds: Kinds of its words: of keys and of values, or of what is meant and of noise.
        keys: Words of the first kind, shuffled.
        values: Words of the second kind, shuffled.
        rng: Chooses the rest.
    """

    template: str
    wording: Wording
    kinds: tuple[str, str]
    keys: list[str]
    values: list[str]
    rng: random.Random

    @property
    def data(self) -> CanaryData:
        """Fillers, and how turns are written."""
        return canary_data()


def drawn(
    task: str,
    wordings: Sequence[Wording],
    kinds: Sequence[tuple[str, str]],
    make: Callable[[Draw], CanaryItem],
    n: int,
    seed: int,
) -> list[CanaryItem]:
    """Items of a task: they go round the templates, which are all wordings with all kinds.

    Args:
        task: Its name; every task draws from numbers of its own.
        wordings: Its wordings.
        kinds: Its kinds.
        make: Makes an item.
        n: Number of items.
        seed: Chooses templates and words.

    Raises:
        ValueError: If `n` is less than 1.
    """
    if n < 1:
        raise ValueError(f"n: got {n}, expected at least 1")
    rng = random.Random(f"{task} {seed}")
    templates = [(f"{'-'.join(dict.fromkeys(kind))}/{number}", wording, kind) for kind in kinds
                 for number, wording in enumerate(wordings, start=1)]  # fmt: skip
    rng.shuffle(templates)
    words = canary_data().kinds
    items = []
    for index in range(n):
        name, wording, kind = templates[index % len(templates)]
        own = random.Random(f"{task} {seed}/{name}/{index // len(templates)}")
        keys, values = (own.sample(words[one], len(words[one])) for one in kind)
        items.append(make(Draw(name, wording, kind, keys, values, own)))
    return items


def listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def candidates(expected: Sequence[str], rivals: Sequence[str]) -> tuple[str, ...]:
    """The right answer and wrong ones to rank by likelihood: each has a rival in place of one expected word."""
    wrong = []
    for number in range(RANKED_RIVALS):
        words = list(expected)
        words[-1 - number % len(words)] = rivals[(number + number // len(words)) % len(rivals)]
        wrong.append(words)
    return tuple(f" {listed(words)}." for words in (expected, *wrong))
