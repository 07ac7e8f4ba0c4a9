"""Tokenizers in the `tokenizers` JSON format: byte-level BPE and single characters. Importing this loads no library."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

END_OF_TEXT = "<|endoftext|>"

UNKNOWN = "\ufffd"
"""The token of characters that a character tokenizer was not trained on: Unicode's replacement character."""

MIN_BPE_SIZE = 257
"""Every byte and the end of text."""


class Tokenizer:
    """A tokenizer that was read from its file.

    Args:
        path: A `tokenizer.json`.
        limit: Vocabulary of a model that was not trained with this tokenizer: ids are taken modulo it, so that the
            model has something to read. What they decode to means nothing.

    Attributes:
        sha256: Hash of the file.
        vocab_size: Number of tokens.
        kind: "subword" or "character".
        end_of_text: Id of the token that ends a document; None if there is none.

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
        for ids in self.encode_batch(documents):
            stream.extend(ids)
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


def train_tokenizer(texts: Iterable[str], kind: Literal["bpe", "char"], vocab_size: int, path: Path) -> None:
    """Train a tokenizer of a kind with `train_bpe` or `train_char`, and raise what they raise."""
    train = train_char if kind == "char" else train_bpe
    train(texts, vocab_size=vocab_size, path=path)


def train_bpe(texts: Iterable[str], vocab_size: int, path: Path) -> None:
    """Train a byte-level BPE tokenizer and write it as JSON.

    Digits are split one by one, so that numbers are spelled and not memorised; a space belongs to the word after it.

    Args:
        texts: Training text, read once and not kept: memory grows with the different words in it, not with its length.
        vocab_size: Size of the vocabulary, the end-of-text token included.
        path: File to write.

    Raises:
        ValueError: If the vocabulary cannot hold every byte and the end of text.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    if vocab_size < MIN_BPE_SIZE:
        raise ValueError(f"vocab_size is {vocab_size}: bytes and end of text alone are {MIN_BPE_SIZE} tokens")

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
    _save(tokenizer, path)


def train_char(texts: Iterable[str], path: Path, vocab_size: int | None = None) -> None:
    """Make a tokenizer whose tokens are the characters of a text, and write it as JSON.

    Any other character becomes the token `UNKNOWN`. The ids follow the characters' code points, so that the same
    characters make the same file.

    Args:
        texts: Text, read once and not kept.
        path: File to write.
        vocab_size: Largest size of the vocabulary, end of text and unknown included: the commonest characters are kept.

    Raises:
        ValueError: If there is no text, or no room for a character.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    if vocab_size is not None and vocab_size < 3:
        raise ValueError(f"vocab_size is {vocab_size}: end of text, unknown and one character are 3 tokens")
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    del counts[UNKNOWN]
    if not counts:
        raise ValueError("there is no text to take characters from: give at least one document")
    kept = sorted(counts, key=lambda character: (-counts[character], character))
    if vocab_size is not None:
        kept = kept[: vocab_size - 2]
    vocab = {token: id_ for id_, token in enumerate([END_OF_TEXT, UNKNOWN, *sorted(kept)])}
    tokenizer: Any = tokenizers.Tokenizer(models.WordLevel(vocab=vocab, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex("(?m)."), "isolated")  # (?m): "." is a newline too
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([END_OF_TEXT])
    _save(tokenizer, path)


def _save(tokenizer: Any, path: Path) -> None:
    from gt.checkpoint import write_atomically

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda partial: tokenizer.save(str(partial), pretty=False))
