"""Questions for the parts of a natural sentence, found by simple rules: what a grammar of facts cannot foresee.

A noun phrase is a determiner, a possessive or a number with up to three words after it, or a name; it ends where a
preposition, an auxiliary, a known verb or a comma follows. Asking leaves it out (`hid what behind the door?`), or
brings a question word to the front where the clause is simple (`What did he hide behind the door?`).
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from gt.data.conversations.split import FUNCTION_WORDS, evaluation_split
from gt.data.conversations.talk import Example, Talk, asked, filler, reply, sentence
from gt.data.conversations.verbs import Forms, frames
from gt.data.conversations.words import Draw

_NUMBERS = frozenset("two three four five six seven eight nine ten twelve twenty thirty forty fifty hundred".split())
_DETERMINERS = _NUMBERS | frozenset(
    "a an the this that these those my our your his her its their some every each another several".split()
)
_PREPOSITIONS = frozenset(
    "of in on at by for with from into onto to under over behind near beside beneath above below between among through"
    " across along around about against after before during since until till upon within without toward towards off"
    " like past beyond outside inside".split()
)
_BOUNDARIES = _PREPOSITIONS | frozenset(
    "is are was were am be been being has have had do does did will would can could may might must shall should and or"
    " but nor as than that which who whom whose where when while if because though although so then there here"
    " not never"
    " he she it they we i you him them us me his her its their my our your the a an this these those all both up down"
    " out away back again too very more came went made said saw took got lay sat stood ran fell kept began gave left"
    " knew thought told found let put brought seemed became felt held looked what how why just only even still".split()
)
_AUXILIARIES = frozenset("is are was were had has have could would will can may might must shall should".split())
_PRONOUNS = frozenset("he she it they we i you".split())
_STARTS = _PREPOSITIONS | _AUXILIARIES | _PRONOUNS
_TIMES = frozenset(
    "morning evening afternoon night day days week weeks month months year years hour hours minute minutes moment time"
    " times while summer winter spring autumn end way manner".split()
)
_PEOPLE = frozenset(
    "man men woman women boy boys girl girls child children king queen lady gentleman people person friend friends"
    " mother father brother brothers sister sisters son sons daughter daughters uncle aunt wife husband soldier"
    " soldiers"
    " captain doctor servant servants master fellow prince princess old young teacher stranger enemy officer sailor"
    " sailors nurse judge priest guest guests neighbor neighbors lord widow crowd poet".split()
)
_NAME = re.compile(r"[A-Z][a-z]+")
_NO_ANSWERS = frozenset(
    "time times moment minute minutes way matter aside apart same lot other others better talk whole kind sort bit rest"
    " first last".split()
)
"""Heads of phrases that are no thing: to `stay the same`."""


class Phrase(NamedTuple):
    """A noun phrase of a sentence: the places of its words, with the determiner, and what it is without one."""

    start: int
    end: int
    value: str
    determiner: str


_WHAT = ("what", "what", "what", "what", "what", "which thing")
_WHO = ("who", "who", "who", "who", "which person")


@cache
def _by_past() -> dict[str, Forms]:
    return {frame.forms.past: frame.forms for frame in frames() if " " not in frame.forms.past}


def _ends(word: str) -> bool:
    return word[-1] in ",;:.!?"


def _is_verb(word: str) -> bool:
    return word in _by_past() or (len(word) > 4 and word.endswith(("ed", "ly")))


def noun_phrases(words: list[str]) -> list[Phrase]:
    """The noun phrases that the rules find among the words of a sentence, without values of the evaluation."""
    found = []
    place = 0
    while place < len(words):
        phrase = _phrase(words, place)
        if phrase is None or evaluation_split().has_value(phrase.value):
            place += 1
        else:
            found.append(phrase)
            place = phrase.end
    return found


def _phrase(words: list[str], start: int) -> Phrase | None:
    first = words[start]
    if start and _NAME.match(first) and first.rstrip(",;:.!?").lower() not in FUNCTION_WORDS:
        return _name(words, start)
    if first.lower() not in _DETERMINERS:
        return None
    end = start + 1
    while end < len(words) and end - start <= 3:
        word = words[end]
        bare = word.rstrip(",;:.!?")
        if not (bare.isalpha() and bare.islower()) or bare in _BOUNDARIES or (end > start + 1 and _is_verb(bare)):
            break
        end += 1
        if _ends(word):
            break
    followed = end == len(words) or words[end] in _BOUNDARIES or _is_verb(words[end])
    if _ends(words[end - 1]) and not followed:
        # Not before another adjective: `the wide, empty street`.
        followed = words[end - 1][-1] != "," or words[end].endswith("ing")
    value = " ".join(words[start + 1 : end]).rstrip(",;:.!?")
    if end == start + 1 or not followed or value in FUNCTION_WORDS or value.split()[-1] in _BOUNDARIES | _NO_ANSWERS:
        return None
    if value.endswith("ly"):
        return None
    return Phrase(start, end, value, first.lower())


def _name(words: list[str], start: int) -> Phrase | None:
    """A name of one to three words, unless it is but a part of a phrase: `the old Jack`."""
    before = words[start - 1]
    if _ends(before) or not (before in _BOUNDARIES or _is_verb(before)) or before.lower() in _DETERMINERS:
        return None
    end = start + 1
    while end < len(words) and not _ends(words[end - 1]) and _NAME.match(words[end]):
        end += 1
    value = " ".join(words[start:end])
    mark = value.rstrip(",;:.!?")
    if end - start > 3 or not mark.replace(" ", "").isalpha():
        return None
    return Phrase(start, end, mark, "")


def questions(draw: Draw, text: str) -> list[tuple[str, str]]:
    """Questions for some noun phrases of a sentence, each with its answer; none if the rules find none."""
    words = text.split()
    phrases = noun_phrases(words)
    found = []
    for phrase in draw.sample(phrases, 3):
        if " ".join(words).count(phrase.value) == 1:
            question, answer = _question(draw, words, phrase)
            if _says_something(question) and not evaluation_split().is_like(question):
                found.append((question, answer))
    return found


def _question(draw: Draw, words: list[str], phrase: Phrase) -> tuple[str, str]:
    start, end = _clause(words, phrase)
    head = phrase.value.split()[-1]
    of_person = head in _PEOPLE or (not phrase.determiner and not _is_place(words, phrase))
    asked_word = draw.pick(_WHO if of_person else _WHAT)
    before = words[start : phrase.start]
    if before and before[0].lower() in ("and", "but", "so", "for", "that", "then"):
        before = before[1:]
    if start == 0 and before and before[0].lower() in _BOUNDARIES | _DETERMINERS | FUNCTION_WORDS and before[0] != "I":
        before = [before[0].lower(), *before[1:]]
    after = [] if _ends(words[phrase.end - 1]) else [*words[phrase.end : end - 1], words[end - 1].rstrip(",;:.!?")]
    if phrase.end == end:
        after = []
    if phrase.determiner in _NUMBERS and draw.random() < 0.5:
        asked_word, answer = f"how many {phrase.value}", phrase.determiner
    elif " " in phrase.value and head.islower() and draw.random() < 0.12:
        answer, _, rest = phrase.value.partition(" ")
        asked_word = draw.pick((f"what kind of {rest}", f"what sort of {rest}", f"which {rest}"))
    else:
        answer = phrase.value
    if after and draw.random() < 0.4:
        after = _shortened(draw, after)
    fronted = _fronted(draw, words, phrase, before, after, asked_word) if draw.random() < 0.75 else None
    if fronted is not None:
        return fronted, answer
    if not before and after:
        return " ".join((asked_word, *after)), answer
    if after and draw.random() < 0.6 and (after[0] in _AUXILIARIES or _is_verb(after[0])):
        return " ".join((asked_word, *after)), answer
    # A fragment begins where a part of the clause does, and says something of its own.
    starts = [place for place, word in enumerate(before) if word in _STARTS or word in _by_past()]
    kept = before[draw.pick((0, *starts)) :]
    text = " ".join((*kept, asked_word) if draw.random() < 0.25 else (*kept, asked_word, *after))
    if not _says_something(text):
        text = " ".join((*before, asked_word, *after))
    return text, answer


def _says_something(text: str) -> bool:
    return any(word not in FUNCTION_WORDS and word not in ("thing", "person") for word in text.lower().split())


def _clause(words: list[str], phrase: Phrase) -> tuple[int, int]:
    """The stretch between the marks around a phrase."""
    start = phrase.start
    while start and not _ends(words[start - 1]):
        start -= 1
    end = phrase.end
    while end < len(words) and not _ends(words[end - 1]):
        end += 1
    return start, end


def _is_place(words: list[str], phrase: Phrase) -> bool:
    return phrase.start > 0 and words[phrase.start - 1] in ("in", "at", "to", "from", "near")


def _shortened(draw: Draw, after: list[str]) -> list[str]:
    """Without what follows a preposition."""
    ends = [place for place, word in enumerate(after) if word in _PREPOSITIONS]
    return after[: draw.pick(ends)] if ends else after


def _fronted(
    draw: Draw, words: list[str], phrase: Phrase, before: list[str], after: list[str], asked_word: str
) -> str | None:
    """The question with its question word in front, where the clause is a subject and one verb that we know."""
    if before and before[0].lower() in ("when", "as", "while", "if", "because", "though"):
        before = before[1:]
    subject = 1 if before and before[0].lower() in _PRONOUNS else 0
    if not subject and before and before[0].lower() in _DETERMINERS:
        subject = next((place for place, word in enumerate(before) if word in _AUXILIARIES or word in _by_past()), 0)
        if subject > 4:
            return None
    if not subject or subject >= len(before):
        return None
    verb, named, rest = before[subject], before[:subject], before[subject + 1 :]
    if verb in _AUXILIARIES:
        inverted = [verb, *named, *rest]
    elif verb in _by_past():
        inverted = ["did", *named, _by_past()[verb].base, *rest]
    else:
        return None
    if rest and rest[-1] in _PREPOSITIONS:
        preposition = rest[-1]
        if preposition in ("in", "at", "on", "under", "behind", "near", "into", "to") and asked_word == "what":
            if phrase.value.split()[-1] in _TIMES:
                return " ".join(("when", *inverted[:-1], *after))
            if draw.random() < 0.5:
                return " ".join(("where", *inverted[:-1], *after))
        if draw.random() < 0.3:
            whom = "whom" if asked_word == "who" else asked_word
            return " ".join((preposition, whom, *inverted[:-1], *after))
    return " ".join((asked_word, *inverted, *after))


def natural(draw: Draw) -> str:
    """A sentence of the material, mostly; else one of the grammar."""
    return draw.pick(draw.material.prose) if draw.material.prose and draw.random() < 0.85 else filler(draw)


def echo(draw: Draw) -> Example:
    """Sentences of natural text, and questions for their noun phrases."""
    talk = Talk(draw)
    while True:
        text = natural(draw)
        found = questions(draw, text)
        if found:
            break
    other = [natural(draw) for _ in range(draw.pick((0, 0, 0, 1, 1, 2)))]
    if other and draw.chance(0.5):
        other.insert(draw.below(len(other) + 1), text)
        talk.say(" ".join(other), reply(draw))
    else:
        talk.say(sentence(text), reply(draw))
    talk.fill(draw.pick((0, 0, 0, 0, 1, 2, 3)))
    for question, answer in found[: 1 + draw.below(3)]:
        talk.ask(asked(draw, question), f"{answer}.")
    return talk.spans()
