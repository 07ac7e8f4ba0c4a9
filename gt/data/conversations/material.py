"""What conversations take from the training text: words to be values, sentences to be fillers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import msgspec

from gt.data.conversations.split import FUNCTION_WORDS, evaluation_split

_WORD = re.compile(r"(?<![\w'])[A-Za-z]{3,15}(?![\w'])")
_TITLE = r"(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\bSt)(?<!\b[A-Z])\."
_SENTENCE = re.compile(rf"(?:^|(?<=[?!] )|(?<=\. ))[A-Z](?:[A-Za-z ,;']|-(?!-)){{18,110}}{_TITLE}(?= |$)")
_AFTER_TITLE = re.compile(r"\b(?:Mr|Mrs|Dr|St|[A-Z])\. $")


class Material(msgspec.Struct, frozen=True):
    """Words and sentences of a training text.

    With the words, nearly every token of a vocabulary is an answer now and then; the built-in lexicon alone has a few
    thousand. What the evaluation uses is left out when it is made.

    Attributes:
        words: May be values: letters only, neither function words nor values of the evaluation.
        prose: May be fillers: no sentence like one of the evaluation. (Values may occur in them: they are not asked.)
    """

    words: tuple[str, ...] = ()
    prose: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        split = evaluation_split()
        words = tuple(word for word in dict.fromkeys(self.words) if _is_word(word) and not split.has_value(word))
        prose = tuple(
            text for text in dict.fromkeys(self.prose) if _SENTENCE.fullmatch(text) and not split.is_like(text)
        )
        msgspec.structs.force_setattr(self, "words", words)
        msgspec.structs.force_setattr(self, "prose", prose)

    @classmethod
    def of(cls, texts: Iterable[str], words: int = 20_000, sentences: int = 50_000) -> Material:
        """The most frequent words of texts, and their first sentences that can stand alone.

        Args:
            texts: Any pieces of text; those beyond the last sentence that is needed count for words alone.
            words: Most words to take.
            sentences: Most sentences to take: of 20 to 112 characters, without digits and quotation marks.
        """
        counts: Counter[str] = Counter()
        found: dict[str, None] = {}
        for text in texts:
            counts.update(_WORD.findall(text))
            if len(found) < sentences:
                found.update(dict.fromkeys(_sentences(" ".join(text.split()))))
        everything = cls(tuple(sorted(counts, key=lambda word: (-counts[word], word))), tuple(found))
        return cls(everything.words[:words], everything.prose[:sentences])


def _sentences(line: str) -> list[str]:
    found = _SENTENCE.finditer(line)
    return [match[0] for match in found if not _AFTER_TITLE.search(line, max(0, match.start() - 6), match.start())]


def _is_word(word: str) -> bool:
    return len(word) > 2 and word.isalpha() and word.isascii() and word.lower() not in FUNCTION_WORDS


NOTHING = Material()
"""No training text: the lexicon and the grammar of fillers alone."""
