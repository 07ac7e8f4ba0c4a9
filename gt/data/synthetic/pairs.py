"""Keys and values: multi-query associative recall, and in-context recall, plain, noisy and fuzzy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from gt.data.dialogues.content import synthetic_data
from gt.data.dialogues.items import CanaryItem
from gt.data.synthetic.draws import Draw, candidates, drawn, listed

PAIRS, QUERIES = 8, 3
"""MQAR: pairs in a text, and queries before the one that is scored."""

SHOWN, AGAIN = 6, 2
"""In-context recall: pairs that are shown, and how many of them are asked again before the one that is scored."""

NOISE = 5
"""Turns of noise among those that show a pair."""


def mqar_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Multi-query associative recall (Arora et al. 2023): eight pairs in a text, then queries in any order.

    The first three queries are answered; the answer to the fourth is scored. Its rivals are the seven other values of
    the text. In the control another key stands in the place of the one that is asked, with another value.

    Args:
        n: Number of items.
        seed: Chooses templates, words and the order of queries.
    """
    data = synthetic_data()
    return drawn("mqar", data.mqar, data.pairs, _mqar, n, seed)


def _mqar(draw: Draw) -> CanaryItem:
    pairs = list(zip(draw.keys[:PAIRS], draw.values[:PAIRS], strict=True))
    order = draw.rng.sample(range(PAIRS), QUERIES + 1)
    place = order[-1]
    without = [*pairs[:place], (draw.keys[PAIRS], draw.values[PAIRS]), *pairs[place + 1 :]]
    asked = [draw.data.turn(draw.wording.question.replace("{key}", pairs[one][0]), f"{pairs[one][1]}.")
             for one in order[:-1]]  # fmt: skip
    return _item(
        draw,
        pairs[place],
        [value for _, value in pairs],
        (_stated(draw, pairs), *asked),
        (_stated(draw, without), *asked),
    )


def _stated(draw: Draw, pairs: Sequence[tuple[str, str]]) -> str:
    each = [draw.wording.each.replace("{key}", key).replace("{value}", value) for key, value in pairs]
    return draw.data.turn(draw.wording.open.replace("{items}", draw.wording.join.join(each)))


def recall_items(noisy: bool, n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """In-context recall, plain or noisy (Poli et al. 2024, MAD): keys and values alternate, and keys come again.

    Six pairs are shown as questions with their answers, two of them twice; then one that was shown once is scored.
    Its rivals are the other values. Noise is five unrelated turns between. In the control that pair is not shown.

    Args:
        noisy: Whether there is noise.
        n: Number of items.
        seed: Chooses templates, words, order and noise.
    """
    data = synthetic_data()
    return drawn("recall", data.recall, data.pairs, _noisy if noisy else _plain, n, seed)


def fuzzy_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Fuzzy in-context recall (Poli et al. 2024, MAD): keys and values of two words, which they share with each other.

    Of no key does a single word tell which value is meant. Otherwise as `recall_items`.

    Args:
        n: Number of items.
        seed: Chooses templates, words and order.
    """
    data = synthetic_data()
    return drawn("fuzzy", data.recall, data.pairs, _fuzzy, n, seed)


def _plain(draw: Draw) -> CanaryItem:
    return _shown(draw, list(zip(draw.keys[:SHOWN], draw.values[:SHOWN], strict=True)), 0)


def _noisy(draw: Draw) -> CanaryItem:
    return _shown(draw, list(zip(draw.keys[:SHOWN], draw.values[:SHOWN], strict=True)), NOISE)


def _fuzzy(draw: Draw) -> CanaryItem:
    # All combinations of two by three words: every word is in two or three of them.
    keys = [" ".join(words) for words in product(draw.keys[:2], draw.keys[2:5])]
    values = [" ".join(words) for words in product(draw.values[:3], draw.values[3:5])]
    draw.rng.shuffle(values)
    return _shown(draw, list(zip(keys, values, strict=True)), 0)


def _shown(draw: Draw, pairs: list[tuple[str, str]], noise: int) -> CanaryItem:
    rng = draw.rng
    order = rng.sample(range(SHOWN), SHOWN)
    place, *again = rng.sample(range(SHOWN), AGAIN + 1)
    opening = draw.data.turn(draw.wording.open)
    turns, without = [opening], [opening]
    fillers = [*rng.sample(draw.data.fillers, noise), *[""] * (SHOWN + AGAIN - noise)]
    rng.shuffle(fillers)
    for one, filler in zip((*order, *again), fillers, strict=True):
        between = [draw.data.turn(filler, rng.choice(draw.data.filler_replies))] if filler else []
        shown = [*between, draw.data.turn(draw.wording.question.replace("{key}", pairs[one][0]), f"{pairs[one][1]}.")]
        turns += shown
        without += shown if one != place else between
    return _item(draw, pairs[place], [value for _, value in pairs], turns, without)


def _item(
    draw: Draw, pair: tuple[str, str], values: Sequence[str], turns: Sequence[str], control: Sequence[str]
) -> CanaryItem:
    key, value = pair
    rivals = tuple(other for other in values if other != value)
    query = draw.data.query(draw.wording.question.replace("{key}", key))
    return CanaryItem(
        template=draw.template,
        kind=draw.kinds[1],
        turns=(*turns, query),
        control=(*control, query),
        said=f"{key}: {listed([value])}",
        expected=(value,),
        rivals=rivals,
        candidates=candidates([value], rivals),
    )
