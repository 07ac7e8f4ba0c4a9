"""What a run reads: its tokenizer, its batches, the windows it is validated on, and a hash of each."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from gt.checkpoint import sha256_of, write_atomically
from gt.data.batches import Batch, BatchSource, MixtureBatches, spaced_windows
from gt.data.corpus import text_file
from gt.data.dataset import prepare, refuse_leaks
from gt.data.leaks import LeakedShares, find_leaks, leaked_shares
from gt.data.shards import Progress
from gt.data.sources import TOKENIZER_CHARACTERS, texts
from gt.data.store import MANIFEST, Tokens
from gt.tokenizers import Tokenizer, train_tokenizer
from gt.training import resume
from gt.training.config import TrainConfig
from gt.training.stream import StreamBatches, TokenStream

log = logging.getLogger(__name__)

VALID_WINDOWS = 64


@dataclass(frozen=True)
class HeldOut:
    """Windows to validate on.

    Attributes:
        name: What they are of.
        windows: The windows.
        share: Share of their loss in the validation loss.
    """

    name: str
    windows: Batch
    share: float = 1.0


@dataclass(frozen=True)
class Inputs:
    """What a run reads.

    Attributes:
        tokenizer: The tokenizer.
        draw: The batches of a seed, of `batch_size * accumulate` sequences.
        valid: What it is validated on.
        tokens: Tokens to train on.
        hashes: Hash of the text to train on and to validate on, in order, and of the tokenizer.
        leaked: How much validation text occurs in training, where that was found and allowed.
    """

    tokenizer: Tokenizer
    draw: Callable[[int], BatchSource]
    valid: tuple[HeldOut, ...]
    tokens: int
    hashes: dict[str, str]
    leaked: LeakedShares = field(default_factory=LeakedShares)


def open_inputs(config: TrainConfig, tokenizer: Path, report: Callable[[Progress], None] = lambda p: None) -> Inputs:
    """Read the text of a run.

    Args:
        config: Settings.
        tokenizer: Where the tokenizer goes; a resumed run takes the one that is there.
        report: Called after every shard that is built.

    Raises:
        ValueError: If a file, the text or a setting does not fit.
    """
    return _from_sources(config, tokenizer, report) if config.data else _from_files(config, tokenizer)


def _from_files(config: TrainConfig, tokenizer: Path) -> Inputs:
    train, valid = _documents(config)
    _provide_tokenizer(config, train, tokenizer)
    loaded = Tokenizer(tokenizer)
    tokens = {name: _tokens(name, documents, loaded) for name, documents in (("corpus", train), ("validation", valid))}
    stream, valid_stream = (TokenStream(found.arrays[0], config.length + 1) for found in tokens.values())
    texts_of = [tokens["corpus"]], [tokens["validation"]]
    leaks = find_leaks(*texts_of)
    refuse_leaks(leaks, loaded, config.allow_leaks)
    windows = Batch(valid_stream.spaced_windows(VALID_WINDOWS, config.length + 1), None)
    return Inputs(
        tokenizer=loaded,
        draw=partial(StreamBatches, stream, config.batch_size * config.accumulate, config.length),
        valid=(HeldOut("validation", windows),),
        tokens=len(stream),
        hashes={"corpus": _hash(train), "validation": _hash(valid), "tokenizer": loaded.sha256},
        leaked=leaked_shares(*texts_of, [windows.tokens_BT.numpy()]) if leaks else LeakedShares(),
    )


def _tokens(name: str, documents: list[str], tokenizer: Tokenizer) -> Tokens:
    """Documents in a row as tokens, each ended by the end of text where the tokenizer has one."""
    end = [] if tokenizer.end_of_text is None else [tokenizer.end_of_text]
    encoded = [np.array(ids + end, dtype=np.int64) for ids in tokenizer.encode_batch(documents)]
    starts = np.cumsum([0, *map(len, encoded)])[:-1]
    return Tokens([np.concatenate(encoded)], [starts], name=name)


def _from_sources(config: TrainConfig, tokenizer: Path, report: Callable[[Progress], None]) -> Inputs:
    built = any((Path(source.path) / MANIFEST).is_file() for source in config.data)  # may hold validation text
    if not (config.valid or config.valid_share or built):
        raise ValueError("there is nothing to validate on: give valid, or a valid_share above 0")
    _provide_tokenizer(config, texts(config.data, TOKENIZER_CHARACTERS), tokenizer)
    loaded = Tokenizer(tokenizer)
    dataset = prepare(
        config.data,
        tokenizer,
        Path(config.shards),
        valid=config.valid,
        valid_share=config.valid_share,
        allow_leaks=config.allow_leaks,
        workers=config.workers,
        report=report,
    )
    if not dataset.valid:
        raise ValueError("there is nothing to validate on: give valid, or a valid_share above 0")
    total = sum(source.weight for source in dataset.valid)
    mixture = [f"{source.tokens.name} {source.weight!r} {source.start}" for source in dataset.train]
    valid = tuple(
        HeldOut(source.tokens.name, spaced_windows(source, VALID_WINDOWS, config.length), source.weight / total)
        for source in dataset.valid
    )
    for held_out in valid:
        weights_BT = held_out.windows.weights_BT
        if weights_BT is not None and not weights_BT.any():
            raise ValueError(
                f"{held_out.name}: every token of its validation windows has weight 0, so that there is no loss: give "
                f"a larger length than {config.length}, or a user_weight above 0"
            )
    return Inputs(
        tokenizer=loaded,
        draw=partial(MixtureBatches, dataset.train, config.batch_size * config.accumulate, config.length),
        valid=valid,
        tokens=sum(len(source.tokens) for source in dataset.train),
        hashes={"data": dataset.sha256, "mixture": _hash(mixture), "tokenizer": loaded.sha256},
        leaked=leaked_shares(
            [source.tokens for source in dataset.train],
            [source.tokens for source in dataset.valid],
            [held_out.windows.tokens_BT.numpy() for held_out in valid],
        )
        if dataset.leaks
        else LeakedShares(),
    )


def _documents(config: TrainConfig) -> tuple[list[str], list[str]]:
    """Training and validation documents, in order."""
    if not config.corpus:
        raise ValueError("no corpus: give at least one text file to train on (--corpus FILE)")
    corpora = [text_file(path) for path in config.corpus]
    held_out = [text_file(source.path) for source in config.valid]
    train = [document for corpus in corpora for document in corpus.train]
    tenth = [document for corpus in corpora for document in corpus.valid]
    if not held_out:
        return train, tenth
    return train + tenth, [document for corpus in held_out for document in corpus.train + corpus.valid]


def _hash(documents: list[str]) -> str:
    digest = hashlib.sha256()
    for document in documents:
        digest.update(document.encode() + b"\0")
    return digest.hexdigest()


def _provide_tokenizer(config: TrainConfig, documents: Iterable[str], path: Path) -> None:
    """Put the tokenizer of a run where its checkpoint keeps it; of a run that starts anew, the old one goes."""
    given = None if config.tokenizer is None else Path(config.tokenizer)
    if given is not None and not given.is_file():
        raise ValueError(f"tokenizer {given}: no such file; expected a tokenizer.json")
    if config.init is not None:
        given = _tokenizer_of_init(Path(config.init) / path.name, given, path)
    if config.resume:
        if not path.is_file():
            raise ValueError(f"{path.parent} has no tokenizer.json to resume with: start anew, without resume")
        if given is not None and given.read_bytes() != path.read_bytes():
            raise ValueError(f"tokenizer {given} is not the one that {path.parent} was started with: leave it out")
        return

    def write(place: Path) -> None:
        if given is None:
            log.info("training a tokenizer of %d tokens", config.vocab_size)
            train_tokenizer(documents, config.tokenizer_kind, config.vocab_size, place)
        else:
            place.write_bytes(given.read_bytes())
        Tokenizer(place)
        resume.remove_run(path.parent)  # now that there is something to put in its place

    write_atomically(path, write)


def _tokenizer_of_init(own: Path, given: Path | None, path: Path) -> Path:
    """The tokenizer of the weights that a run starts with: with another one they would mean nothing."""
    if own.resolve() == path.resolve():
        raise ValueError(f"init and out are both {own.parent}: expected two folders; give another --out")
    if given is not None and sha256_of(given) != sha256_of(own):
        raise ValueError(
            f"tokenizer {given} has SHA-256 {sha256_of(given)[:12]}..., the weights of {own.parent} were trained with "
            f"{sha256_of(own)[:12]}...: leave tokenizer out"
        )
    return own
