"""What training conversations must not contain: the values, statements, questions and fillers of the evaluation.

A sentence is too like one of the evaluation if one could be learned from the other:

* both are the same, or
* they have a *run* in common: six words in a row, at least two of them content words (`what is the name of the` is
  English, not a question of the evaluation), or
* they are *alike*: more than 70% of the words of the evaluation's sentence, and at least 70% of its content words,
  stand in the training sentence in the same order. Of one with a single content word, `There are {value} in the box.`,
  all words must stand there, and nothing but a value between them.

The values of a statement are left out before sentences are compared. What the assistant is made to reply is compared
as a whole: `Right.` has nothing that one could learn from a longer sentence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from math import ceil

from gt.data.dialogues import evaluation_texts

RUN = 6
LIKENESS = 0.7
MOST_VALUE_WORDS = 30
"""Five values of a list, with articles, and room to spare."""

_SLOT = re.compile(r"\{\w+\}")
_WORD = re.compile(r"[a-z0-9']+")
FUNCTION_WORDS = frozenset(
    "a an the this that these those my our your his her its their i we you he she it they me us him them who whom whose"
    " which what where when why how is are was were be been being am do does did done has have had will would can could"
    " shall should may might must to of in on at by for with from into onto out up down off over under about as and or"
    " but if than then so not no there here one some any all by the way please".split()
)


def words_of(text: str) -> list[str]:
    """Words of a text, case-folded."""
    return _WORD.findall(text.casefold())


class EvaluationSplit:
    """Tells texts that the evaluation uses from those that training may use.

    Args:
        values: Values that may be no fact in training.
        texts: Sentences that training must not be like; `{value}` and other names in braces stand for any value.
        replies: Sentences that training must not repeat.
    """

    def __init__(self, values: Iterable[str], texts: Iterable[str], replies: Iterable[str] = ()) -> None:
        self._values = frozenset(" ".join(words_of(value)) for value in values)
        self._firsts = frozenset(value.partition(" ")[0] for value in self._values if " " in value)
        self._longest = max((value.count(" ") + 1 for value in self._values), default=0)
        self._exact = {" ".join(words_of(text)) for text in replies}
        self._texts: list[tuple[list[str], list[str]]] = []
        short = []
        for text in dict.fromkeys(texts):
            words = words_of(_SLOT.sub(" ", text))
            content = [word for word in words if word not in FUNCTION_WORDS]
            self._exact.add(" ".join(words))
            if len(content) > 1:
                self._texts.append((words, content))
            else:
                parts = (re.escape(" ".join(words_of(part))) for part in _SLOT.split(text))
                short.append(rf"(?: \S+){{1,{MOST_VALUE_WORDS}}} ".join(parts).strip())
        self._short = re.compile("|".join(short) or "(?!)")
        self._index()

    def _index(self) -> None:
        """Find runs and texts by their rarest words, so that most sentences need no comparison at all."""
        counts = Counter(word for _, content in self._texts for word in set(content))
        self._runs: dict[str, list[tuple[int, list[str]]]] = {}
        self._suspects: dict[str, list[int]] = {}
        for index, (words, content) in enumerate(self._texts):
            # 70% of the content words of what is alike are there: of the other 30% and one more, one is.
            ranked = sorted(content, key=lambda word: (counts[word], -len(word), word))
            for word in dict.fromkeys(ranked[: len(content) - ceil(LIKENESS * len(content)) + 1]):
                self._suspects.setdefault(word, []).append(index)
            for start in range(len(words) - RUN + 1):
                run = words[start : start + RUN]
                telling = [word for word in run if word not in FUNCTION_WORDS]
                if len(telling) > 1:
                    rarest = min(telling, key=lambda word: (counts[word], word))
                    self._runs.setdefault(rarest, []).append((run.index(rarest), run))
        self._telling = frozenset((*self._runs, *self._suspects))

    def has_value(self, text: str) -> bool:
        """Whether a text contains a value of the evaluation, as whole words in any case."""
        words = words_of(text)
        if not self._values.isdisjoint(words):
            return True
        return not self._firsts.isdisjoint(words) and any(
            " ".join(words[start : start + size]) in self._values
            for size in range(2, self._longest + 1)
            for start in range(len(words) - size + 1)
        )

    def free(self, texts: Iterable[str]) -> tuple[str, ...]:
        """Those of the texts that training may use: without a value, and unlike the evaluation's."""
        return tuple(text for text in texts if not self.has_value(text) and not self.is_like(text))

    def is_like(self, text: str) -> bool:
        """Whether a text is one of the evaluation, or too like one: as the module says."""
        words = words_of(text)
        line = " ".join(words)
        if line in self._exact or self._short.fullmatch(line):
            return True
        present = frozenset(words)
        if present.isdisjoint(self._telling):
            return False
        for place, word in enumerate(words):
            if word not in self._telling:
                continue
            for offset, run in self._runs.get(word, ()):
                if place >= offset and words[place - offset : place - offset + RUN] == run:
                    return True
            for index in self._suspects.get(word, ()):
                if self._is_alike(index, words, present):
                    return True
        return False

    def _is_alike(self, index: int, words: list[str], present: frozenset[str]) -> bool:
        whole, content = self._texts[index]
        needed = LIKENESS * len(content)
        return (
            sum(word in present for word in content) >= needed
            and common_words(content, words) >= needed
            and common_words(whole, words) > LIKENESS * len(whole)
        )


@cache
def evaluation_split() -> EvaluationSplit:
    """The split of every evaluation fixture."""
    texts = evaluation_texts()
    return EvaluationSplit(texts.values, (*texts.statements, *texts.questions, *texts.fillers), texts.replies)


def common_words(first: list[str], second: list[str]) -> int:
    """Length of the longest common subsequence of two lists of words."""
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for index, other in enumerate(second, start=1):
            above = row[index]
            row[index] = diagonal + 1 if word == other else max(above, row[index - 1])
            diagonal = above
    return row[-1]
