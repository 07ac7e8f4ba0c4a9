"""What a run reads: its tokenizer, its batches, the windows it is validated on, and a hash of each."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from gt.checkpoint import write_atomically
from gt.data.batches import BatchSource
from gt.data.corpus import text_file
from gt.tokenizers import Tokenizer, train_bpe
from gt.training.config import TrainConfig
from gt.training.stream import StreamBatches, TokenStream

log = logging.getLogger(__name__)

VALID_WINDOWS = 64
MIN_VOCAB_SIZE = 257
HASHED_APART = frozenset({"validation", "tokenizer"})
"""What has a hash and is no source that is trained on."""


@dataclass(frozen=True)
class Inputs:
    """What a run reads.

    Attributes:
        tokenizer: The tokenizer.
        batches: Batches of `batch_size * accumulate` sequences.
        valid_NT: Windows to validate on [N, length + 1].
        tokens: Tokens to train on; None where that is not known.
        hashes: Hash of every source, and of the tokenizer.
    """

    tokenizer: Tokenizer
    batches: BatchSource
    valid_NT: Tensor
    tokens: int | None
    hashes: dict[str, str]


def open_inputs(config: TrainConfig, tokenizer: Path) -> Inputs:
    """Read the text of a run.

    Args:
        config: Settings.
        tokenizer: Where the tokenizer goes; a resumed run takes the one that is there.

    Raises:
        ValueError: If a file, the text or a setting does not fit.
    """
    train, valid, hashes = _documents(config)
    _provide_tokenizer(config, train, tokenizer)
    loaded = Tokenizer(tokenizer)
    stream = TokenStream(loaded.encode_documents(train), config.length + 1)
    valid_stream = TokenStream(loaded.encode_documents(valid), config.length + 1)
    return Inputs(
        tokenizer=loaded,
        batches=StreamBatches(stream, config.batch_size * config.accumulate, config.length, config.seed),
        valid_NT=valid_stream.spaced_windows(VALID_WINDOWS, config.length + 1),
        tokens=len(stream),
        hashes={**hashes, "validation": _hash(valid), "tokenizer": loaded.sha256},
    )


def _documents(config: TrainConfig) -> tuple[list[str], list[str], dict[str, str]]:
    """Training and validation documents, and the hash of each training file."""
    if not config.corpus:
        raise ValueError("no corpus: give at least one text file to train on (--corpus FILE)")
    corpora = [text_file(path) for path in config.corpus]
    held_out = [text_file(path) for path in config.valid]
    hashes = {corpus.name: corpus.sha256 for corpus in corpora}
    train = [document for corpus in corpora for document in corpus.train]
    tenth = [document for corpus in corpora for document in corpus.valid]
    if not held_out:
        return train, tenth, hashes
    return train + tenth, [document for corpus in held_out for document in corpus.train + corpus.valid], hashes


def _hash(documents: list[str]) -> str:
    digest = hashlib.sha256()
    for document in documents:
        digest.update(document.encode() + b"\0")
    return digest.hexdigest()


def _provide_tokenizer(config: TrainConfig, documents: list[str], path: Path) -> None:
    """Put the tokenizer of a run where its checkpoint keeps it."""
    given = None if config.tokenizer is None else Path(config.tokenizer)
    if given is not None and not given.is_file():
        raise ValueError(f"tokenizer {given}: no such file; expected a tokenizer.json")
    if config.resume:
        if not path.is_file():
            raise ValueError(f"{path.parent} has no tokenizer.json to resume with: start anew, without resume")
        if given is not None and given.read_bytes() != path.read_bytes():
            raise ValueError(f"tokenizer {given} is not the one that {path.parent} was started with: leave it out")
    elif given is None:
        if config.vocab_size < MIN_VOCAB_SIZE:
            raise ValueError(
                f"vocab_size is {config.vocab_size}: bytes and end of text alone are {MIN_VOCAB_SIZE} tokens"
            )
        log.info("training a tokenizer of %d tokens", config.vocab_size)
        write_atomically(path, lambda partial: train_bpe(documents, config.vocab_size, partial))
    elif given.resolve() != path.resolve():
        write_atomically(path, lambda partial: partial.write_bytes(given.read_bytes()))
