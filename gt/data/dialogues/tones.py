"""C4b, C4c: how to sound is said once, and what is answered sounds so, at once and turns later."""

from __future__ import annotations

import random
import re

import msgspec

from gt.data.dialogues.content import Sample, Template, Turn, canary_data, tone_data
from gt.data.dialogues.items import VALUES_PER_TEMPLATE, CanaryItem, spread
from gt.data.dialogues.recall import filler_turns
from gt.data.dialogues.scorers import Score, first_line, score_facts

LATER = 3
"""Turns between the first time that the question is asked and the second."""

_WORD = re.compile(r"\w+(?:['-]\w+)*")
_CONTRACTED = re.compile(r"\w+(?:n't|'(?:re|ve|ll|d|m))|(?:it|that|he|she|what|who|where|there|here|how|let)'s")
_WRITTEN_OUT = re.compile(
    r"\b(?:i (?:am|have|will|would|shall)|(?:you|we|they) (?:are|have|will|would)|(?:he|she|it) (?:is|has|will|would)"
    r"|(?:that|there|here|what) is|cannot|(?:do|does|did|is|are|was|were|have|has|had|will|would|could|should) not)\b"
)
_ADDRESSING = frozenset("i me my mine myself you your yours yourself we us our ours ourselves".split())


def formal_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Conversations of C4b: a formal tone is asked for, a fact is stated, and asked for at once and three turns later.

    Facts are spread as those of `recall_items`. The control has a neutral turn in place of the instruction; the
    assistant's other turns, which are given, have no tone.

    Args:
        n: Number of items.
        seed: Chooses templates, values, wordings and turns.

    Raises:
        ValueError: If `n` is more (or less) than the fixture can provide.
    """
    return _items("formal", tone_data().formal.instructions, tone_data().formal.sample, n, seed)


def terse_items(n: int = 400, seed: int = 0) -> list[CanaryItem]:
    """Conversations of C4c: as those of C4b, but answers are to be formal, concise and technical at once."""
    return _items("terse", tone_data().terse.instructions, tone_data().terse.sample, n, seed)


def _items(tone: str, instructions: tuple[Turn, ...], sample: Sample, n: int, seed: int) -> list[CanaryItem]:
    recall = canary_data()
    rng = random.Random(f"{tone} {seed}")
    placed = spread(recall.templates, VALUES_PER_TEMPLATE, n, rng)
    values = {kind: rng.sample(candidates, len(candidates)) for kind, candidates in recall.kinds.items()}
    items = []
    for name, template, place in placed:
        value = values[template.kind][place % len(values[template.kind])]
        own = random.Random(f"{tone} {seed}/{name}/{value}")
        items.append(_item(name, template, value, own.choice(instructions), sample, own))
    return items


def _item(
    name: str, template: Template, value: str, instruction: Turn, sample: Sample, rng: random.Random
) -> CanaryItem:
    recall = canary_data()
    neutral, fillers = rng.choice(recall.neutral), filler_turns(recall, LATER, rng)
    statement = template.statement.replace("{value}", value)
    stated, query = recall.turn(statement, template.reply), recall.query(template.question)
    told, plain = recall.turn(instruction.text, instruction.reply), recall.turn(neutral.text, neutral.reply)
    early = CanaryItem(
        template=name,
        kind=template.kind,
        turns=(told, stated, query),
        control=(plain, stated, query),
        said=f"{instruction.text} {statement}",
        expected=(value,),
        rivals=tuple(other for other in recall.kinds[template.kind] if other != value),
        candidates=tuple(f" {text.replace('{value}', value)}" for text in (sample.right, sample.other)),
    )
    return msgspec.structs.replace(
        early,
        turns=(told, stated, *fillers, query),
        control=(plain, stated, *fillers, query),
        before=(early,),
    )


def score_formal(item: CanaryItem, generated: str) -> Score:
    """Whether an answer is formal: a score from contractions, slang and pronouns, as the fixture says.

    A neutral sentence, however correct, is not: formality must show. Recorded beside it: formal and right.
    """
    line = first_line(generated)
    why = _informal(line) or _toneless(line) or ("repeats what was said" if _repeats(item, line) else "")
    return Score(not why, why, {"content_rate": not why and score_facts(item, generated).right})


def score_terse(item: CanaryItem, generated: str) -> Score:
    """Whether an answer is formal (no contraction, slang or personal pronoun), concise and technical, all at once.

    Words that were said in the conversation before are no technical terms: naming the thing again is not technical.
    Recorded beside it: each of the three, and all three and right.
    """
    tone, line = tone_data(), first_line(generated)
    words = _words(line)
    said = {word for turn in item.turns for word in _words(turn)}
    terms = sum(word in tone.words.technical and word not in said for word in words)
    informal = _informal(line) or ("addresses somebody" if _ADDRESSING & {*words} else "")
    concise = 0 < len(words) <= tone.terse.most_words
    technical = bool(words) and terms >= tone.terse.least_terms * len(words)
    why = informal or ("" if concise else "is too long") or ("" if technical else "has too few technical terms")
    also = {
        "formal_rate": not informal,
        "concise_rate": concise,
        "technical_rate": technical,
        "content_rate": not why and score_facts(item, generated).right,
    }
    return Score(not why, why, also)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold().replace("\u2019", "'"))


def _informal(line: str) -> str:
    words = _words(line)
    if not words:
        return "says nothing"
    if any(_CONTRACTED.fullmatch(word) for word in words):
        return "has a contraction"
    if "!" in line or not tone_data().words.slang.isdisjoint(words):
        return "has slang"
    return ""


def _toneless(line: str) -> str:
    tone, words = tone_data(), _words(line)
    if sum(word in _ADDRESSING for word in words) > tone.formal.most_addressed * len(words):
        return "is chatty"
    formal = sum(word in tone.words.formal for word in words)
    written_out = len(_WRITTEN_OUT.findall(" ".join(words)))
    return "" if formal and formal + written_out >= tone.formal.least_points else "has no formal tone"


def _repeats(item: CanaryItem, line: str) -> bool:
    return " ".join(_words(line)) in " ".join(_words(" ".join(item.turns)))
