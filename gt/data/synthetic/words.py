"""Lists of words: selective copying, and RULER's common and frequent words."""

from __future__ import annotations

from itertools import product

from gt.data.dialogues.content import synthetic_data
from gt.data.dialogues.items import CanaryItem
from gt.data.dialogues.scorers import Score, first_line, score_facts
from gt.data.synthetic.draws import Draw, candidates, drawn

COPIED, NOISE = 4, 10
"""Selective copying: words that are meant, and words between them."""

UNNAMED = "right ones"
"""What the control asks for."""

COMMON, COMMON_TIMES, UNCOMMON = 2, 5, 10
"""Common words: how many there are, how often each comes, and how many others come once."""

FREQUENT_TIMES, RARE = (16, 4, 2), 8
"""Frequent words: how often the first three come, as 16 / rank squared does, and how many others come once."""


def copy_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Selective copying (Gu and Dao 2023): of a row of words, four of one sort among ten, only these, in their order.

    The sorts are told by their form: numbers, and names with a capital. The control names no sort.

    Args:
        n: Number of items.
        seed: Chooses templates, words and places.
    """
    data = synthetic_data()
    return drawn("copy", data.copy, list(product(data.sorts, data.noise)), _copy, n, seed)


def _copy(draw: Draw) -> CanaryItem:
    expected, noise = draw.keys[:COPIED], draw.values[:NOISE]
    places = sorted(draw.rng.sample(range(COPIED + NOISE), COPIED))
    meant, other = iter(expected), iter(noise)
    row = draw.wording.join.join(next(meant) if place in places else next(other) for place in range(COPIED + NOISE))
    sort = synthetic_data().sorts[draw.kinds[0]]
    return CanaryItem(
        template=draw.template,
        kind=draw.kinds[0],
        turns=(draw.data.query(draw.wording.question.replace("{sort}", sort).replace("{items}", row)),),
        control=(draw.data.query(draw.wording.question.replace("{sort}", UNNAMED).replace("{items}", row)),),
        said=f"{sort}: {row}",
        expected=tuple(expected),
        rivals=tuple(noise),
        candidates=candidates(expected, noise),
    )


def score_in_order(item: CanaryItem, generated: str) -> Score:
    """As `score_facts`, and the expected words must come in their order."""
    score = score_facts(item, generated)
    if not score.right:
        return score
    line = first_line(generated).casefold()
    places = [line.index(word.casefold()) for word in item.expected]
    return score if places == sorted(places) else Score(False, "names them in another order")


def common_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Common words: two words that come five times each among ten that come once. In the control all come once.

    Source:
        Hsieh et al. 2024, RULER: CWE.

    Args:
        n: Number of items.
        seed: Chooses templates, words and their order.
    """
    data = synthetic_data()
    return drawn("common", data.common, [(kind, kind) for kind in data.words], _common, n, seed)


def frequent_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Frequent words: the three that come 16, 4 and 2 times among eight that come once. In the control all come once.

    Source:
        Hsieh et al. 2024, RULER: FWE, whose counts fall with the square of the rank.

    Args:
        n: Number of items.
        seed: Chooses templates, words and their order.
    """
    data = synthetic_data()
    return drawn("frequent", data.frequent, [(kind, kind) for kind in data.words], _frequent, n, seed)


def _common(draw: Draw) -> CanaryItem:
    return _counted(draw, [COMMON_TIMES] * COMMON, UNCOMMON)


def _frequent(draw: Draw) -> CanaryItem:
    return _counted(draw, list(FREQUENT_TIMES), RARE)


def _counted(draw: Draw, times: list[int], once: int) -> CanaryItem:
    expected, rivals = draw.keys[: len(times)], draw.keys[len(times) : len(times) + once]
    row = [word for word, count in zip(expected, times, strict=True) for _ in range(count)] + rivals
    flat = expected + rivals
    draw.rng.shuffle(row)
    draw.rng.shuffle(flat)

    def text(words: list[str]) -> str:
        return draw.data.turn(draw.wording.open.replace("{items}", draw.wording.join.join(words)))

    # The answer that is ranked by likelihood names the most frequent ones first, and equals as they come.
    expected.sort(key=lambda word: (-row.count(word), row.index(word)))
    query = draw.data.query(draw.wording.question)
    return CanaryItem(
        template=draw.template,
        kind=draw.kinds[0],
        turns=(text(row), query),
        control=(text(flat), query),
        said=draw.wording.join.join(row),
        expected=tuple(expected),
        rivals=tuple(rivals),
        candidates=candidates(expected, rivals),
    )
