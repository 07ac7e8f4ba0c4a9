"""What training conversations must not contain: the values, statements, questions and fillers of the evaluation.

Two texts are the same for training if one could have been learned from the other:

* a *run*: six words in a row that both have, at least two of them content words (`what is the name of the` is English,
  not a question of the evaluation);
* a *likeness*: more than 70% of the words of the evaluation text, and at least 70% of its content words, stand in the
  training text in the same order.

The value of a statement is left out before texts are compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from gt.data.dialogues import evaluation_texts

RUN = 6
LIKENESS = 0.7

_SLOT = re.compile(r"\{values?\}")
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
        texts: Sentences that training must not be like; `{value}` and `{values}` stand for any.
    """

    def __init__(self, values: Iterable[str], texts: Iterable[str]) -> None:
        self._values = frozenset(" ".join(words_of(value)) for value in values)
        self._longest = max((value.count(" ") + 1 for value in self._values), default=0)
        self._exact: set[str] = set()
        self._runs: dict[str, set[tuple[str, ...]]] = {}
        self._texts: list[tuple[list[str], list[str]]] = []
        self._needed: list[float] = []
        self._by_word: dict[str, list[int]] = {}
        for text in dict.fromkeys(texts):
            words = words_of(_SLOT.sub(" ", text))
            content = [word for word in words if word not in FUNCTION_WORDS]
            self._exact.add(" ".join(words))
            for start in range(len(words) - RUN + 1):
                run = tuple(words[start : start + RUN])
                if sum(word not in FUNCTION_WORDS for word in run) >= 2:
                    self._runs.setdefault(run[0], set()).add(run)
            for word in dict.fromkeys(content):
                self._by_word.setdefault(word, []).append(len(self._texts))
            self._texts.append((words, content))
            self._needed.append(LIKENESS * len(set(content)))

    def has_value(self, text: str) -> bool:
        """Whether a text contains a value of the evaluation, as whole words in any case."""
        words = words_of(text)
        return any(
            " ".join(words[start : start + size]) in self._values
            for size in range(1, self._longest + 1)
            for start in range(len(words) - size + 1)
        )

    def free(self, texts: Iterable[str]) -> tuple[str, ...]:
        """Those of the texts that training may use: without a value, and unlike the evaluation's."""
        return tuple(text for text in texts if not self.has_value(text) and not self.is_like(text))

    def is_like(self, text: str) -> bool:
        """Whether a text is one of the evaluation, or too like one: a run or a likeness, as the module says."""
        words = words_of(text)
        if " ".join(words) in self._exact:
            return True
        hits: dict[int, int] = {}
        for start, word in enumerate(words):
            runs = self._runs.get(word)
            if runs is not None and tuple(words[start : start + RUN]) in runs:
                return True
        for word in set(words):
            for index in self._by_word.get(word, ()):
                hits[index] = hits.get(index, 0) + 1
        return any(count >= self._needed[index] and self._is_alike(index, words) for index, count in hits.items())

    def _is_alike(self, index: int, words: list[str]) -> bool:
        whole, content = self._texts[index]
        return common_words(content, words) >= LIKENESS * len(content) and common_words(whole, words) > LIKENESS * len(
            whole
        )


@cache
def evaluation_split() -> EvaluationSplit:
    """The split of every evaluation fixture."""
    texts = evaluation_texts()
    return EvaluationSplit(texts.values, (*texts.statements, *texts.questions, *texts.fillers, *texts.replies))


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
