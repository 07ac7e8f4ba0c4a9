"""Conversations to train on: skills of a dialogue that a model can only have by copying what was said.

Everything is generated from a grammar (`clauses`, `nouns`, `talk`), a lexicon and, optionally, words and sentences of
the training text. Nothing that the evaluation fixtures use is ever said (`split`). Importing this loads no torch.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, count

import msgspec

from gt.data.conversations import behaviours, lookup, recall, styles
from gt.data.conversations.echo import echo
from gt.data.conversations.jabber import jabber_facts
from gt.data.conversations.material import NOTHING, Material
from gt.data.conversations.noised import noised_facts
from gt.data.conversations.talk import Example, Span
from gt.data.conversations.words import Draw

__all__ = ["SKILLS", "Example", "Material", "Skill", "Span", "examples", "mixture"]


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
    "copy": Skill("repeat what was said", lookup.copy, 0.8, 0),
    "induction": Skill("which word came after", lookup.induction, 0.8, 0),
    "mqar": Skill("look up one of several pairs", lookup.associative_recall, 0.8, 0),
    "selective": Skill("copy only what is of a sort", lookup.selective_copy, 0.3, 0),
    "cloze": Skill("fill in a word of an earlier sentence", behaviours.cloze, 1.0, 1),
    "echo": Skill("a part of a natural sentence", echo, 3.5, 1),
    "recall": Skill("a stated fact, at once", recall.recall(0, 0), 5.0, 1),
    "recall-1-3": Skill("a stated fact after 1 to 3 turns", recall.recall(1, 3), 4.0, 2),
    "recall-4-6": Skill("a stated fact after 4 to 6 turns", recall.recall(4, 6), 1.2, 2),
    "recall-7-12": Skill("a stated fact after 7 to 12 turns", recall.recall(7, 12), 0.5, 2),
    "several": Skill("one of several facts", recall.several, 1.5, 2),
    "collection": Skill("two of several facts at once", behaviours.collection, 0.4, 2),
    "needle": Skill("a fact within a text", behaviours.needle, 0.5, 2),
    "correction": Skill("the corrected fact, not the first one", behaviours.correction, 0.5, 3),
    "preference": Skill("which of two is preferred", behaviours.preference, 0.4, 3),
    "reference": Skill("what was meant by it or that", behaviours.reference, 0.4, 3),
    "constraints": Skill("all that is to be avoided", behaviours.constraints, 0.4, 3),
    "formats": Skill("bullets, numbers or plain lines, kept over turns", styles.formats, 2.0, 3),
    "tone": Skill("formal, casual, short, technical or terse, kept over turns", styles.tone, 0.15, 3),
    "role": Skill("who the assistant is said to be", styles.role, 2.0, 3),
    "speakers": Skill("several users in one stream", styles.speakers, 0.4, 3),
    "unknown": Skill("what was not said is not known", behaviours.unknown, 0.03, 3),
    "small-talk": Skill("turns without facts", behaviours.small_talk, 0.2, 3),
    "jabber": Skill("a fact of random words in any form", recall.beside(jabber_facts), 0.0, 2),
    "noised": Skill("a fact with words dropped, swapped, replaced or misspelled", recall.beside(noised_facts), 0.0, 2),
}


def examples(skill: str, seed: int, start: int = 0, *, material: Material = NOTHING) -> Iterator[Example]:
    """Examples of a skill without end; each depends on skill, seed, its number and the material alone.

    Args:
        skill: A key of `SKILLS`.
        seed: Chooses the examples.
        start: Number of the first one.
        material: Words and sentences of the training text.

    Raises:
        ValueError: If there is no such skill.
    """
    if skill not in SKILLS:
        raise ValueError(f"skill: got {skill!r}, expected one of {', '.join(SKILLS)}")
    generator = SKILLS[skill].generator
    return (generator(Draw(f"{skill}/{seed}/{index}", material)) for index in count(start))


def mixture(
    weights: Mapping[str, float] | None, seed: int, start: int = 0, *, material: Material = NOTHING
) -> Iterator[tuple[str, Example]]:
    """Examples of several skills without end, each with its skill; each depends on seed, number and material alone.

    Args:
        weights: Share of each skill's examples, in any unit; None for the default mixture.
        seed: Chooses the examples.
        start: Number of the first one.
        material: Words and sentences of the training text.

    Raises:
        ValueError: If a skill is unknown, a weight is below 0, or none is above.
    """
    if weights is None:
        weights = {name: skill.weight for name, skill in SKILLS.items()}
    unknown = sorted(set(weights) - set(SKILLS))
    if unknown:
        raise ValueError(f"weights: got {', '.join(unknown)}, expected skills among {', '.join(SKILLS)}")
    chosen = {name: weights[name] for name in SKILLS if weights.get(name, 0) > 0}
    if not chosen or any(weight < 0 for weight in weights.values()):
        raise ValueError(f"weights: got {dict(weights)}, expected none below 0 and at least one above")
    return _mixture(tuple(chosen), tuple(accumulate(chosen.values())), seed, start, material)


def _mixture(
    names: Sequence[str], bounds: Sequence[float], seed: int, start: int, material: Material
) -> Iterator[tuple[str, Example]]:
    for index in count(start):
        draw = Draw(f"mixture/{seed}/{index}", material)
        name = names[bisect(bounds, draw.random() * bounds[-1], hi=len(names) - 1)]
        yield name, SKILLS[name].generator(draw)
