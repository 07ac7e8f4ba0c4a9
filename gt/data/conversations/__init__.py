"""Conversations to train on: skills of a dialogue that a model can only have by copying what was said.

Everything is generated from a grammar (`clauses`, `nouns`, `talk`), a lexicon and, optionally, words and sentences of
the training text. Nothing that the evaluation fixtures use is ever said (`split`). Importing this loads no torch.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, count
from random import Random

import msgspec

from gt.data.conversations import behaviours, lookup, recall, styles
from gt.data.conversations.talk import Example, Span
from gt.data.conversations.words import Draw, usable_words

__all__ = ["SKILLS", "Example", "Skill", "Span", "examples", "mixture", "usable_words"]


class Skill(msgspec.Struct, frozen=True):
    """One thing to learn.

    Attributes:
        title: What it is, for people.
        generator: Makes an example.
        weight: Share of its examples in the default mixture.
        stage: When a curriculum may bring it in: 0 copying, 1 single facts, 2 facts over a distance and among others,
            3 behaviour.
    """

    title: str
    generator: Callable[[Draw], Example]
    weight: float
    stage: int


SKILLS: dict[str, Skill] = {
    "copy": Skill("repeat what was said", lookup.copy, 1.0, 0),
    "induction": Skill("which word came after", lookup.induction, 1.0, 0),
    "mqar": Skill("look up one of several pairs", lookup.associative_recall, 1.0, 0),
    "selective": Skill("copy only what is of a sort", lookup.selective_copy, 0.5, 0),
    "cloze": Skill("fill in a word of an earlier sentence", behaviours.cloze, 1.0, 1),
    "recall": Skill("a stated fact, at once", recall.recall(0, 0), 4.0, 1),
    "recall-1-3": Skill("a stated fact after 1 to 3 turns", recall.recall(1, 3), 3.0, 2),
    "recall-4-6": Skill("a stated fact after 4 to 6 turns", recall.recall(4, 6), 1.5, 2),
    "recall-7-12": Skill("a stated fact after 7 to 12 turns", recall.recall(7, 12), 0.7, 2),
    "several": Skill("one of several facts", recall.several, 2.0, 2),
    "collection": Skill("two of several facts at once", behaviours.collection, 0.5, 2),
    "needle": Skill("a fact within a text", behaviours.needle, 0.7, 2),
    "correction": Skill("the corrected fact, not the first one", behaviours.correction, 0.7, 3),
    "preference": Skill("which of two is preferred", behaviours.preference, 0.5, 3),
    "reference": Skill("what was meant by it or that", behaviours.reference, 0.5, 3),
    "constraints": Skill("all that is to be avoided", behaviours.constraints, 0.5, 3),
    "formats": Skill("bullets, numbers or plain lines, kept over turns", styles.formats, 1.0, 3),
    "tone": Skill("formal, casual, short or technical, kept over turns", styles.tone, 0.5, 3),
    "role": Skill("who the assistant is said to be", styles.role, 1.0, 3),
    "speakers": Skill("several users in one stream", styles.speakers, 0.5, 3),
    "unknown": Skill("what was not said is not known", behaviours.unknown, 0.2, 3),
    "small-talk": Skill("turns without facts", behaviours.small_talk, 0.2, 3),
}


def examples(
    skill: str, seed: int, start: int = 0, *, words: Sequence[str] = (), prose: Sequence[str] = ()
) -> Iterator[Example]:
    """Examples of a skill without end; each depends on skill, seed and its number alone (and on words and prose).

    Args:
        skill: A key of `SKILLS`.
        seed: Chooses the examples.
        start: Number of the first one.
        words: More words to use as values, e.g. those of the training text, through `usable_words`.
        prose: Sentences to use as fillers, e.g. of the training text.

    Raises:
        ValueError: If there is no such skill.
    """
    if skill not in SKILLS:
        raise ValueError(f"skill: got {skill!r}, expected one of {', '.join(SKILLS)}")
    return _examples(skill, seed, start, words, prose)


def _examples(skill: str, seed: int, start: int, words: Sequence[str], prose: Sequence[str]) -> Iterator[Example]:
    generator = SKILLS[skill].generator
    for index in count(start):
        yield generator(Draw(f"{skill}/{seed}/{index}", words, prose))


def mixture(
    weights: Mapping[str, float] | None,
    seed: int,
    start: int = 0,
    *,
    words: Sequence[str] = (),
    prose: Sequence[str] = (),
) -> Iterator[tuple[str, Example]]:
    """Examples of several skills without end, each with its skill; number i depends on seed and i alone.

    Args:
        weights: Share of each skill's examples, in any unit; None for the default mixture.
        seed: Chooses the examples.
        start: Number of the first one.
        words: As for `examples`.
        prose: As for `examples`.

    Raises:
        ValueError: If a skill is unknown, or no weight is above 0.
    """
    if weights is None:
        weights = {name: skill.weight for name, skill in SKILLS.items()}
    unknown = sorted(set(weights) - set(SKILLS))
    if unknown:
        raise ValueError(f"weights: got {', '.join(unknown)}, expected skills among {', '.join(SKILLS)}")
    chosen = [(name, float(weight)) for name, weight in weights.items() if weight > 0]
    if not chosen or any(weight < 0 for weight in weights.values()):
        raise ValueError(f"weights: got {dict(weights)}, expected none below 0 and one above")
    return _mixture(chosen, seed, start, words, prose)


def _mixture(
    chosen: Sequence[tuple[str, float]], seed: int, start: int, words: Sequence[str], prose: Sequence[str]
) -> Iterator[tuple[str, Example]]:
    names = [name for name, _ in chosen]
    bounds = list(accumulate(weight for _, weight in chosen))
    for index in count(start):
        name = names[min(bisect(bounds, Random(f"mixture/{seed}/{index}").random() * bounds[-1]), len(names) - 1)]
        yield name, SKILLS[name].generator(Draw(f"{name}/{seed}/{index}", words, prose))
