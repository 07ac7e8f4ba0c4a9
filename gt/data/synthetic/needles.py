"""RULER's needles in a short text, single and several, and its variable tracking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from gt.data.dialogues.content import synthetic_data
from gt.data.dialogues.items import CanaryItem
from gt.data.synthetic.draws import Draw, candidates, drawn, listed

SENTENCES = 12
"""Sentences of the haystack."""

KEYS, VALUES, QUERIES = 4, 3, 2
"""Multi-key: needles, all but one of which are not asked; multi-value: of one key; multi-query: asked at once."""

CHAINS, LINKS = 2, 2
"""Variable tracking: chains, and links of each after its first variable."""


def single_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """One needle among twelve sentences; the rivals are the other values of its kind. The control lacks it.

    Source:
        Hsieh et al. 2024, RULER: S-NIAH.

    Args:
        n: Number of items.
        seed: Chooses templates, words and sentences.
    """
    return _needles("single", partial(_one, count=1), n, seed)


def multi_key_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Four needles, one of which is asked; the rivals are the values of the others. The control lacks the one.

    Source:
        Hsieh et al. 2024, RULER: MK-NIAH.

    Args:
        n: Number of items.
        seed: Chooses templates, words and sentences.
    """
    return _needles("multi-key", partial(_one, count=KEYS), n, seed)


def multi_value_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Three needles of one key and three of another; all values of the one are asked. The control lacks one of them.

    Source:
        Hsieh et al. 2024, RULER: MV-NIAH.

    Args:
        n: Number of items.
        seed: Chooses templates, words and sentences.
    """
    return _needles("multi-value", _values, n, seed)


def multi_query_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Four needles, two of which are asked in one question. The control lacks one of the two.

    Source:
        Hsieh et al. 2024, RULER: MQ-NIAH.

    Args:
        n: Number of items.
        seed: Chooses templates, words and sentences.
    """
    return _needles("multi-query", _both, n, seed)


def chain_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Variable tracking: two chains of three variables; all that have one chain's value are asked.

    A variable is set, and others inherit from it one after another. The rivals are the variables of the other chain.
    In the control the last link of the chain is missing.

    Source:
        Hsieh et al. 2024, RULER: VT.

    Args:
        n: Number of items.
        seed: Chooses templates, words and sentences.
    """
    data = synthetic_data()
    return drawn("chain", data.chain, data.pairs, _chain, n, seed)


def _needles(task: str, make: Callable[[Draw], CanaryItem], n: int, seed: int) -> list[CanaryItem]:
    data = synthetic_data()
    return drawn(task, data.needle, data.pairs, make, n, seed)


def _one(draw: Draw, count: int) -> CanaryItem:
    pairs = list(zip(draw.keys[:count], draw.values[:count], strict=True))
    key, value = pairs[0]
    rivals = draw.values[1:count] if count > 1 else draw.values[1:]
    needles = [_needle(draw, *pair) for pair in pairs]
    return _item(draw, needles, draw.wording.question.replace("{key}", key), [value], rivals)


def _values(draw: Draw) -> CanaryItem:
    key, other = draw.keys[:2]
    own, others = draw.values[:VALUES], draw.values[VALUES : 2 * VALUES]
    needles = [*(_needle(draw, key, value) for value in own), *(_needle(draw, other, value) for value in others)]
    placed = draw.rng.sample(needles, len(needles))
    # The answer that is ranked by likelihood names them as they come.
    expected = sorted(own, key=lambda value: placed.index(_needle(draw, key, value)))
    return _item(draw, needles, draw.wording.several.replace("{key}", key), expected, others, placed)


def _both(draw: Draw) -> CanaryItem:
    needles = [_needle(draw, *pair) for pair in zip(draw.keys[:KEYS], draw.values[:KEYS], strict=True)]
    query = draw.wording.both.replace("{keys}", listed(draw.keys[:QUERIES]))
    return _item(draw, needles, query, draw.values[:QUERIES], draw.values[QUERIES:KEYS])


def _needle(draw: Draw, key: str, value: str) -> str:
    return draw.wording.each.replace("{value}", value).replace("{key}", key)


def _chain(draw: Draw) -> CanaryItem:
    size = LINKS + 1
    chains = [draw.keys[number * size : (number + 1) * size] for number in range(CHAINS)]
    rows = []
    for variables, value in zip(chains, draw.values[:CHAINS], strict=True):
        links = [
            draw.wording.link.replace("{key}", name).replace("{other}", before) for before, name in pairwise(variables)
        ]
        rows.append([_needle(draw, variables[0], value), *links])
    # The last link of the first chain comes first among those that `_item` may leave out.
    needles = [rows[0][-1], *rows[0][:-1], *rows[1]]
    # A chain keeps its order: a variable inherits from one that is there already.
    order = [*([0] * size), *([1] * size)]
    draw.rng.shuffle(order)
    left = [list(row) for row in rows]
    placed = [left[chain].pop(0) for chain in order]
    query = draw.wording.question.replace("{value}", draw.values[0])
    return _item(draw, needles, query, chains[0], chains[1], placed)


def _item(
    draw: Draw,
    needles: Sequence[str],
    question: str,
    expected: Sequence[str],
    rivals: Sequence[str],
    placed: Sequence[str] | None = None,
) -> CanaryItem:
    """The needles among sentences, in an order of their own if they have one; the first is not in the control."""
    order = list(placed) if placed is not None else draw.rng.sample(needles, len(needles))
    prose = draw.rng.sample(draw.data.fillers, SENTENCES)
    places = sorted(draw.rng.choices(range(SENTENCES + 1), k=len(order)))

    def text(chosen: Sequence[str]) -> str:
        sentences = []
        for place in range(SENTENCES + 1):
            sentences += [needle for needle, at in zip(order, places, strict=True) if at == place and needle in chosen]
            sentences += prose[place : place + 1]
        return draw.data.turn(" ".join(sentences))

    query = draw.data.query(question)
    return CanaryItem(
        template=draw.template,
        kind=draw.kinds[1],
        turns=(text(needles), query),
        control=(text(needles[1:]), query),
        said=" ".join(order),
        expected=tuple(expected),
        rivals=tuple(rivals),
        candidates=candidates(expected, rivals),
    )
