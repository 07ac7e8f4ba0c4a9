"""Facts and questions with some of their words dropped, swapped, replaced or misspelled.

Statement and question are changed each for itself, so that no single word, order or ending can be relied on. The
answer, the words that ask for it and at least one word that the two have in common are left as they were.
"""

from __future__ import annotations

from gt.data.conversations.clauses import Fact
from gt.data.conversations.echo import natural, questions
from gt.data.conversations.jabber import jabber_facts
from gt.data.conversations.nouns import KINDS
from gt.data.conversations.recall import allowed_part, around, drawn_facts
from gt.data.conversations.split import FUNCTION_WORDS, evaluation_split, words_of
from gt.data.conversations.words import Draw

_ASKING = frozenset(word for row in KINDS.values() for text in row.asked for word in text.split()) | frozenset(
    "what which who whom whose where when why how many much long often else name kind sort type tell remind".split()
)
_LETTERS = "etaoinshrdlucmfwygpbvk"
_MARKS = ".,;:!?"


def noised_facts(draw: Draw, count: int = 1) -> list[Fact]:
    """Facts of the grammars, or sentences of the material, with noise; unlike those of the evaluation."""
    found: list[Fact] = []
    while len(found) < count:
        form = draw.random()
        if form < 0.6:
            drawn = drawn_facts(draw, draw.random(), count - len(found))
        elif form < 0.8:
            drawn = jabber_facts(draw, count - len(found))
        else:
            text = _as_clause(natural(draw).rstrip(_MARKS))
            drawn = [Fact(text, tuple(questions(draw, text)))]
        found += [one for one in (noised_fact(draw, fact) for fact in drawn) if one is not None]
    return found


def _as_clause(text: str) -> str:
    """A sentence as it goes on after others' words."""
    first = text.partition(" ")[0]
    return f"{text[0].lower()}{text[1:]}" if first != "I" and first.lower() in FUNCTION_WORDS else text


def noised_fact(draw: Draw, fact: Fact) -> Fact | None:
    """The fact in a noisy statement with a noisy question or more for one answer; None if nothing is left of it."""
    split = evaluation_split()
    for _, answer in fact.questions:
        sides = around(fact.statement, answer)
        if sides is not None:
            break
    else:
        return None
    share = 0.05 + 0.2 * draw.random()
    before, after = (" ".join(_noise(draw, text.split(), share)) for text in sides)
    mark = after[:1] in _MARKS or sides[1][:1] in ("'", "-")
    statement = f"{before} {answer}{'' if mark or not after else ' '}{after}".strip()
    if split.has_value(statement):
        return None
    said = set(words_of(before)).union(words_of(after)) - FUNCTION_WORDS
    shared = set(words_of(fact.statement)) - FUNCTION_WORDS
    kept: list[tuple[str, str]] = []
    for question, value in fact.questions:
        if value != answer or len(kept) == 2:
            continue
        noisy = " ".join(_noise(draw, question.split(), 0.05 + 0.2 * draw.random(), asking=True))
        words = set(words_of(noisy))
        # What had a word in common with the statement still has one; what had none is known by what it asks for.
        lost = words.isdisjoint(said) and not shared.isdisjoint(words_of(question))
        if (
            not lost
            and not words <= FUNCTION_WORDS
            and words.isdisjoint(words_of(answer))
            and not split.has_value(noisy)
        ):
            kept.append((noisy, answer))
    return allowed_part(fact._replace(statement=statement, questions=tuple(kept))) if kept else None


def _noise(draw: Draw, words: list[str], share: float, asking: bool = False) -> list[str]:
    """The words with a share of them changed; the words of a question that ask stay as they are."""
    changed: list[str] = []
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if draw.random() >= share or (asking and word.lower() in _ASKING) or not word.isalpha():
            changed.append(word)
            continue
        form = draw.random()
        if form < 0.3:
            continue
        if form < 0.5 and place < len(words) and not (asking and words[place].lower() in _ASKING):
            changed += (words[place], word)
            place += 1
        elif form < 0.75:
            changed.append(draw.pick(draw.words) if draw.words and draw.chance(0.5) else _word(draw))
        else:
            changed.append(_misspelled(draw, word))
    return changed


def _word(draw: Draw) -> str:
    return draw.made_up().lower() if draw.random() < 0.3 else draw.noun().rpartition(" ")[2]


def _misspelled(draw: Draw, word: str) -> str:
    """A letter missing, doubled, swapped with the next one or replaced; never the first, by which words are known."""
    if len(word) < 3:
        return word
    place = 1 + draw.below(len(word) - 1)
    rest = word[place + 1 :]
    form = draw.below(4)
    if form == 0:
        return word[:place] + rest
    if form == 1:
        return word[:place] + word[place] * 2 + rest
    if form == 2 and rest:
        return word[:place] + rest[0] + word[place] + rest[1:]
    return word[:place] + draw.pick(_LETTERS) + rest
