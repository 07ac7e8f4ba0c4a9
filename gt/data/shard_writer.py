"""One shard: what goes into it, and the files that come of it. Runs in the building processes."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
import numpy as np

from gt.checkpoint import write_bytes
from gt.data.config import DataSource
from gt.data.generated import encoded_examples
from gt.data.sources import prose_material
from gt.data.split import Routed, held_out
from gt.data.store import PARTS, WEIGHT_UNIT, Integers, Plan, Shard, ShardPart, shard_file
from gt.tokenizers import Tokenizer

_BATCH = 1 << 20  # characters that are tokenised together: what is alive at once is some hundred bytes for each


class ShardJob(msgspec.Struct, frozen=True, kw_only=True):
    """A shard to write.

    Attributes:
        index: Its number.
        folder: Where it goes.
        tokenizer: A tokenizer.json.
        plan: What is built.
        done: How far the build is when it is written, for the progress.
        text: Pieces of text; or
        source: the generator, with the conversations from `start` up to `stop`.
    """

    index: int
    folder: Path
    tokenizer: Path
    plan: Plan
    done: int
    text: tuple[Routed, ...] = ()
    source: DataSource | None = None
    start: int = 0
    stop: int = 0


def start_worker() -> None:
    """Prepare a process: it tokenises in one thread, and ends when the process that feeds it is gone."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    parent = multiprocessing.parent_process()
    if parent is not None:

        def end_with_parent() -> None:
            parent.join()
            os._exit(1)  # the queue of a killed process never says that nothing more will come

        threading.Thread(target=end_with_parent, daemon=True).start()


def write_shard(job: ShardJob) -> Shard:
    """Tokenise and write a shard: its files, and last the record that makes it count as finished.

    Raises:
        ValueError: If the tokenizer changed meanwhile.
    """
    tokenizer = _tokenizer(job.tokenizer, job.plan.tokenizer_sha256)
    parts = {part: _Part(job.plan) for part in PARTS}
    if job.source is None:
        characters = _add_text(job.text, tokenizer, parts)
    else:
        characters = 0
        material = prose_material(job.source)
        found = encoded_examples(job.source, job.start, job.stop, tokenizer, material)
        for text, ids, weights in found:
            parts["valid" if held_out(text, job.plan.valid_share) else "train"].add_example(ids, weights)
            characters += len(text)
    shard = Shard(
        index=job.index,
        characters=characters,
        parts={part: content.write(job.folder, job.index, part) for part, content in parts.items()},
    )
    write_bytes(job.folder / f"{job.index:05d}.json", msgspec.json.encode(shard))
    return shard


@cache
def _tokenizer(path: Path, sha256: str) -> Tokenizer:
    tokenizer = Tokenizer(path)
    if tokenizer.sha256 != sha256:
        raise ValueError(f"tokenizer {path} changed while shards were built with it: build them again")
    return tokenizer


class _Part:
    """Training or validation tokens of a shard, as they grow."""

    def __init__(self, plan: Plan) -> None:
        self._dtype = np.uint16 if plan.vocab_size <= 65_535 else np.uint32
        self._end = plan.end_of_text
        self._tokens: list[Integers] = []
        self._starts: list[int] = []
        self._weights: list[Integers] = []
        self._size = 0

    def add(self, ids: list[int], begins: bool, ends: bool) -> None:
        if begins:
            self._starts.append(self._size)
        if ends and self._end is not None:
            ids = [*ids, self._end]
        self._tokens.append(np.array(ids, dtype=self._dtype))
        self._size += len(ids)

    def add_example(self, ids: list[int], weights: list[int]) -> None:
        if self._end is not None and (not ids or ids[-1] != self._end):
            ids, weights = [*ids, self._end], [*weights, WEIGHT_UNIT]
        self._starts.append(self._size)
        self._tokens.append(np.array(ids, dtype=self._dtype))
        self._weights.append(np.array(weights, dtype=np.uint8))
        self._size += len(ids)

    def write(self, folder: Path, index: int, part: str) -> ShardPart:
        if not self._size:
            return ShardPart()
        arrays: dict[str, Integers] = {"tokens": np.concatenate(self._tokens)}
        if self._starts:
            arrays["starts"] = np.array(self._starts, dtype=np.uint32)
        if self._weights:
            arrays["weights"] = np.concatenate(self._weights)
        hashes = {}
        for what, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            name = shard_file(index, part, what)
            write_bytes(folder / name, buffer.getbuffer())
            hashes[name] = hashlib.sha256(buffer.getbuffer()).hexdigest()
        return ShardPart(tokens=self._size, documents=len(self._starts), weighted=bool(self._weights), sha256=hashes)


def _add_text(pieces: tuple[Routed, ...], tokenizer: Tokenizer, parts: dict[str, _Part]) -> int:
    characters = 0
    for batch in _batches(pieces):
        for piece, ids in zip(batch, tokenizer.encode_batch([piece.text for piece in batch]), strict=True):
            parts[piece.part].add(ids, piece.begins, piece.ends)
            characters += len(piece.text)
    return characters


def _batches(pieces: tuple[Routed, ...]) -> Iterator[list[Routed]]:
    batch: list[Routed] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece.text)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
