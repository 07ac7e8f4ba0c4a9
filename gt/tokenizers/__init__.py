"""Tokenizers: byte-level BPE in the `tokenizers` JSON format. Importing this module loads no library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

END_OF_TEXT = "<|endoftext|>"


class Tokenizer:
    """A byte-level BPE tokenizer.

    Args:
        path: A `tokenizer.json`.
        limit: Vocabulary of a model that was not trained with this tokenizer: ids are taken modulo it, so that the
            model has something to read. What they decode to means nothing.

    Raises:
        ValueError: If the file is missing or is no tokenizer.
    """

    def __init__(self, path: Path, limit: int | None = None) -> None:
        import tokenizers

        try:
            text = path.read_text(encoding="utf-8")
            self._tokenizer = tokenizers.Tokenizer.from_str(text)
        except OSError as error:
            raise ValueError(f"cannot read tokenizer {path}: {error.strerror}") from error
        except Exception as error:  # `tokenizers` raises bare Exception
            raise ValueError(f"{path} is no tokenizer in the `tokenizers` JSON format: {error}") from error
        self.sha256 = hashlib.sha256(text.encode()).hexdigest()
        size: int = self._tokenizer.get_vocab_size()
        self.vocab_size = size if limit is None else min(size, limit)
        self._limit = limit
        self.kind = "subword" if is_subword(path) else "character"
        end: int | None = self._tokenizer.token_to_id(END_OF_TEXT)
        self.end_of_text = None if end is None else self._within([end])[0]

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return self._within(self._tokenizer.encode(text).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each of many texts, on all cores unless TOKENIZERS_PARALLELISM is false."""
        return [self._within(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def encode_documents(self, documents: Sequence[str]) -> list[int]:
        """Token ids of documents in a row, each followed by the end-of-text token."""
        stream: list[int] = []
        for encoding in self._tokenizer.encode_batch(list(documents)):
            stream.extend(self._within(encoding.ids))
            if self.end_of_text is not None:
                stream.append(self.end_of_text)
        return stream

    def _within(self, ids: list[int]) -> list[int]:
        return ids if self._limit is None else [id_ % self._limit for id_ in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids; the end-of-text token becomes nothing."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text


def is_subword(path: Path) -> bool:
    """Whether a tokenizer.json joins characters into longer pieces; one without merges spells everything out.

    Raises:
        ValueError: If the file is no tokenizer.
    """
    import json

    try:
        model = json.loads(path.read_text(encoding="utf-8"))["model"]
        return bool(model.get("merges")) or model["type"] in ("Unigram", "WordPiece")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no tokenizer in the `tokenizers` JSON format: {error!r}") from error


def train_bpe(texts: Iterable[str], vocab_size: int, path: Path) -> None:
    """Train a byte-level BPE tokenizer and write it as JSON.

    Digits are split one by one, so that numbers are spelled and not memorised; a space belongs to the word after it.

    Args:
        texts: Training text.
        vocab_size: Size of the vocabulary, the end-of-text token included.
        path: File to write.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer: Any = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path), pretty=False)
