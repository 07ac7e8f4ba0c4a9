"""What a model is trained and validated on: sources tokenised, divided and searched for leaks. Imports no torch."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gt.checkpoint import write_bytes
from gt.data.config import DataSource
from gt.data.leaks import Leak, find_leaks
from gt.data.shards import SHARD_CHARACTERS, Progress, build_store, store_folder
from gt.data.store import MANIFEST, Store, WeightedTokens
from gt.tokenizers import Tokenizer

log = logging.getLogger(__name__)

_QUOTED = 80  # characters of a leak in its message


@dataclass(frozen=True)
class Dataset:
    """Tokens to train and to validate on.

    Attributes:
        train: Sources of training windows, for `gt.data.batches.MixtureBatches`.
        valid: Sources of validation windows, for `gt.data.batches.spaced_windows`; those without tokens are left out.
        sha256: Hash of everything in it: text, division, tokenizer.
        leaks: Validation text that occurs in training, where that was allowed.
    """

    train: tuple[WeightedTokens, ...]
    valid: tuple[WeightedTokens, ...]
    sha256: str
    leaks: tuple[Leak, ...]


def prepare(
    sources: Sequence[DataSource],
    tokenizer: Path,
    folder: Path,
    *,
    valid: Sequence[DataSource] = (),
    valid_share: float = 0.1,
    allow_leaks: bool = False,
    workers: int = 1,
    shard_characters: int = SHARD_CHARACTERS,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Dataset:
    """Build or open the shards of all sources, and make sure that nothing to validate on is trained on.

    Args:
        sources: What to train on. A source whose path is a folder of shards is used as it is.
        tokenizer: A tokenizer.json.
        folder: Where the shards are kept, each source in a folder of its own.
        valid: What to validate on.
        valid_share: Without `valid`, the share of each source that is held out for it; 0 for no validation.
        allow_leaks: Whether validation text may occur in training: it is then logged, and said in the dataset.
        workers: Processes.
        shard_characters: Text of a shard.
        report: Called after every shard.

    Raises:
        ValueError: One line: a source cannot be read, nothing is held out, or validation text occurs in training.
        OSError: If the shards cannot be written, or a process was killed.
    """
    if not sources:
        raise ValueError("there is nothing to train on: give at least one source")
    reader = Tokenizer(tokenizer)

    def opened(source: DataSource, share: float) -> Store:
        path = Path(source.path)
        if (path / MANIFEST).is_file():
            return Store(path, reader.sha256)
        return build_store(
            source,
            tokenizer,
            store_folder(source, folder, reader.sha256, share),
            valid_share=share,
            workers=workers,
            shard_characters=shard_characters,
            report=report,
        )

    share = 0.0 if valid else valid_share
    stores = [(source, opened(source, share)) for source in sources]
    held_out = [(source, opened(source, 0.0)) for source in valid]
    train, to_validate = _divided(stores, held_out)
    if not to_validate and (valid or share):
        raise ValueError(f"nothing was held out by valid_share {share}: give more text, or validation text (valid)")
    digest = hashlib.sha256()
    for role, group in (("train", stores), ("valid", held_out)):
        for _, store in group:
            digest.update(f"{role} {store.sha256}\n".encode())
    leaks = _leaks(train, to_validate, digest.hexdigest(), folder)
    refuse_leaks(leaks, reader, allow_leaks)
    return Dataset(train=train, valid=to_validate, sha256=digest.hexdigest(), leaks=leaks)


def refuse_leaks(leaks: Sequence[Leak], tokenizer: Tokenizer, allowed: bool) -> None:
    """Refuse validation text that occurs in training, or say so where it is allowed.

    Raises:
        ValueError: If there is any and it is not allowed.
    """
    if not leaks:
        return
    message = describe_leaks(leaks, tokenizer)
    if not allowed:
        raise ValueError(f"{message}: hold other text out, or allow leaks if that is a licence or the like")
    log.warning("%s", message)


def describe_leaks(leaks: Sequence[Leak], tokenizer: Tokenizer) -> str:
    """One line: how much validation text is where in training, and the beginning of the first of it."""
    first = leaks[0]
    text = " ".join(tokenizer.decode(first.tokens).split())
    quoted = text if len(text) <= _QUOTED else text[:_QUOTED] + "..."
    counts = [(first.passages, "passages of 64 tokens or more"), (first.documents, "documents")]
    found = " and ".join(f"{count:,} {what}" for count, what in counts if count)
    rest = f", and so for {len(leaks) - 1} more pairs of sources" if len(leaks) > 1 else ""
    return (
        f"validation text occurs in training: {found} of {first.train} are in {first.valid}, the first in training "
        f"document {first.train_document} and validation document {first.valid_document}, {quoted!r}{rest}"
    )


def _divided(
    stores: Sequence[tuple[DataSource, Store]], held_out: Sequence[tuple[DataSource, Store]]
) -> tuple[tuple[WeightedTokens, ...], tuple[WeightedTokens, ...]]:
    """What is trained on and what is validated on; of the latter nothing that is empty."""
    train = tuple(_weighted(source, store, "train") for source, store in stores)
    for empty in (found.tokens for found in train if not len(found.tokens)):
        raise ValueError(f"{empty.name} has no tokens: give more text or a smaller valid_share")
    # A folder of shards may come with a validation part of its own; what is given as `valid` is validation as a whole.
    parts = [(source, store, "train") for source, store in held_out] or [(s, store, "valid") for s, store in stores]
    return train, tuple(found for found in (_weighted(*part) for part in parts) if len(found.tokens))


def _weighted(source: DataSource, store: Store, part: str) -> WeightedTokens:
    start = source.start or ("document" if store.generated else "anywhere")
    return WeightedTokens(store.train if part == "train" else store.valid, source.weight, start)


def _leaks(
    train: Sequence[WeightedTokens], valid: Sequence[WeightedTokens], sha256: str, folder: Path
) -> tuple[Leak, ...]:
    """The leaks of this dataset, looked for once."""
    path = folder / f"leaks-{sha256[:16]}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Leak, ...])
    except (OSError, msgspec.MsgspecError):
        pass  # not looked for yet, or the file is torn
    leaks = tuple(find_leaks([source.tokens for source in train], [source.tokens for source in valid]))
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(path, msgspec.json.encode(leaks))
    return leaks
