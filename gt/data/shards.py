"""Tokenising a source once into shards: in parallel, resumable, in constant memory. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock

from gt.checkpoint import sha256_of, write_bytes
from gt.data.config import DataSource
from gt.data.generated import generated_count, generator_sha256
from gt.data.hugging_face import dataset_revision
from gt.data.shard_writer import ShardJob, start_worker, write_shard
from gt.data.sources import pieces, source_files
from gt.data.split import Routed, plan_split, routed
from gt.data.store import MANIFEST, PARTS, Manifest, Plan, Shard, SourceFile, Store, read_manifest
from gt.tokenizers import Tokenizer

log = logging.getLogger(__name__)

SHARD_CHARACTERS = 1 << 24
"""Text of a shard: about 4 million tokens of BPE, so that 10 GB are some 600 shards."""

SHARD_EXAMPLES = 1 << 13
"""Generated conversations of a shard."""

_PLAN = "plan.json"
_OF_TEXT = ("path", "field", "count")
_OF_CONVERSATIONS = ("path", "count", "skills", "seed", "prose", "answer_weight", "user_weight")


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a build is.

    Attributes:
        source: Path of the source.
        done: Bytes of files, or conversations, that are tokenised.
        total: Of how many; None where that is not known.
        tokens: Tokens written so far.
    """

    source: str
    done: int
    total: int | None
    tokens: int


def store_folder(source: DataSource, root: Path, tokenizer_sha256: str, valid_share: float = 0.0) -> Path:
    """Where the shards of a source are kept under a folder: by what is in them, not by how it is mixed."""
    text = json.dumps([_description(source), tokenizer_sha256, valid_share], sort_keys=True)
    name = re.sub(r"[^A-Za-z0-9]+", "-", Path(source.path).name or source.path).strip("-")[:40]
    return root / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def build_store(
    source: DataSource,
    tokenizer: Path,
    folder: Path,
    *,
    valid_share: float = 0.0,
    workers: int = 1,
    shard_characters: int = SHARD_CHARACTERS,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Store:
    """Tokenise a source into a folder, or open what is there already.

    What a shard holds depends on the source alone, so the bytes are the same however many workers there are and
    however often the build was interrupted. Finished shards are kept; with another tokenizer, share or text all are
    made anew.

    Args:
        source: What to tokenise; its weight and start do not matter.
        tokenizer: A tokenizer.json.
        folder: Where the shards go.
        valid_share: Share of the text to hold out for validation (`gt.data.split`).
        workers: Processes; with more than one, a script that calls this needs `if __name__ == "__main__":`.
        shard_characters: Text of a shard.
        report: Called after every shard.

    Raises:
        ValueError: One line, if the source or the tokenizer cannot be read, or nothing is in it.
        OSError: If the shards cannot be written, or a process was killed.
    """
    for name, value, fits, expected in (
        ("valid_share", valid_share, 0 <= valid_share < 1, "at least 0 and below 1"),
        ("workers", workers, workers >= 1, "at least 1"),
        ("shard_characters", shard_characters, shard_characters >= 1, "at least 1"),
    ):
        if not fits:
            raise ValueError(f"{name} is {value}: expected {expected}")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        plan = _plan(source, Tokenizer(tokenizer), folder, valid_share, shard_characters)
        store = _finished_store(folder, plan)
        if store is not None:
            return store
        return _build(source, tokenizer, folder, plan, workers, report)


def _build(
    source: DataSource, tokenizer: Path, folder: Path, plan: Plan, workers: int, report: Callable[[Progress], None]
) -> Store:
    """Make the shards that are not there yet, and the manifest."""
    kept = _finished_shards(folder, plan)
    (folder / MANIFEST).unlink(missing_ok=True)
    write_bytes(folder / _PLAN, msgspec.json.encode(plan))
    total = None if source.is_dataset else sum(file.size for file in plan.files)
    if source.is_generated:
        total = generated_count(source)
    shards: list[Shard] = []
    tokens = 0
    for done, shard in _built(_jobs(source, tokenizer, folder, plan), kept, workers):
        shards.append(shard)
        tokens += sum(part.tokens for part in shard.parts.values())
        report(Progress(source=source.path, done=done, total=total, tokens=tokens))
    if not tokens:
        raise ValueError(f"{source.path}: got no text, expected at least one document")
    manifest = Manifest(
        plan=plan,
        tokens={part: sum(shard.parts[part].tokens for shard in shards) for part in PARTS},
        documents={part: sum(shard.parts[part].documents for shard in shards) for part in PARTS},
        shards=tuple(shards),
    )
    write_bytes(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    for shard in shards:
        (folder / f"{shard.index:05d}.json").unlink(missing_ok=True)
    (folder / _PLAN).unlink()
    return Store(folder)


def _description(source: DataSource) -> dict[str, Any]:
    """What decides the text and the weights of a source."""
    named = _OF_CONVERSATIONS if source.is_generated else _OF_TEXT
    return {name: value for name, value in asdict(source).items() if name in named}


def _plan(source: DataSource, tokenizer: Tokenizer, folder: Path, valid_share: float, shard_characters: int) -> Plan:
    description = _description(source)
    if source.is_generated:
        description["generator_sha256"] = generator_sha256()
    earlier = _earlier_plan(folder)
    if source.is_dataset:
        revision = dataset_revision(source.path)
        description["revision"] = revision or (earlier.source.get("revision") if earlier else None)
    known = {file.path: file for file in earlier.files} if earlier else {}
    files = []
    for path in source_files(source):
        status = path.stat()
        file = known.get(str(path))
        if file is None or (file.size, file.mtime_ns) != (status.st_size, status.st_mtime_ns):
            file = SourceFile(path=str(path), size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=sha256_of(path))
        files.append(file)
    return Plan(
        source=description,
        files=tuple(files),
        tokenizer_sha256=tokenizer.sha256,
        vocab_size=tokenizer.vocab_size,
        end_of_text=tokenizer.end_of_text,
        valid_share=valid_share,
        shard_characters=shard_characters,
    )


def _earlier_plan(folder: Path) -> Plan | None:
    """What was built here before, finished or not."""
    try:
        if (folder / MANIFEST).is_file():
            return read_manifest(folder).plan
        return msgspec.json.decode((folder / _PLAN).read_bytes(), type=Plan)
    except (OSError, ValueError):
        return None


def _same(earlier: Plan | None, plan: Plan) -> bool:
    """Whether two plans make the same shards: a file that was only touched is the same file."""

    def without_times(of: Plan) -> Plan:
        return msgspec.structs.replace(of, files=tuple(msgspec.structs.replace(f, mtime_ns=0) for f in of.files))

    return earlier is not None and without_times(earlier) == without_times(plan)


def _finished_store(folder: Path, plan: Plan) -> Store | None:
    if not (folder / MANIFEST).is_file():
        return None
    if not _same(_earlier_plan(folder), plan):
        log.warning("%s: made of another text, with another tokenizer or another share: building it again", folder)
        return None
    try:
        return Store(folder)
    except ValueError as error:
        log.warning("%s", error)
        return None


def _finished_shards(folder: Path, plan: Plan) -> dict[int, Shard]:
    """Shards of an interrupted build of the same plan whose bytes are whole; all others are removed."""
    kept: dict[int, Shard] = {}
    if not (folder / MANIFEST).is_file() and _same(_earlier_plan(folder), plan):
        for path in folder.glob("[0-9]*.json"):
            try:
                shard = msgspec.json.decode(path.read_bytes(), type=Shard)
                hashes = {name: digest for part in shard.parts.values() for name, digest in part.sha256.items()}
                if all(sha256_of(folder / name) == digest for name, digest in hashes.items()):
                    kept[shard.index] = shard
            except (OSError, msgspec.MsgspecError):
                continue  # torn: made again
    for path in folder.iterdir():
        index = re.match(r"(\d{5})\.", path.name)
        if index and (path.suffix == ".partial" or int(index[1]) not in kept):
            path.unlink()
    return kept


def _jobs(source: DataSource, tokenizer: Path, folder: Path, plan: Plan) -> Iterator[ShardJob]:
    if source.is_generated:
        count = generated_count(source)
        for index, start in enumerate(range(0, count, SHARD_EXAMPLES)):
            stop = min(start + SHARD_EXAMPLES, count)
            yield ShardJob(
                index=index,
                folder=folder,
                tokenizer=tokenizer,
                plan=plan,
                done=stop,
                source=source,
                start=start,
                stop=stop,
            )
        return
    split = plan_split(lambda: pieces(source), plan.valid_share)
    text: list[Routed] = []
    index = size = 0

    def job() -> ShardJob:
        done = text[-1].position
        return ShardJob(index=index, folder=folder, tokenizer=tokenizer, plan=plan, done=done, text=tuple(text))

    for piece in routed(pieces(source), split):
        text.append(piece)
        size += len(piece.text)
        if size >= plan.shard_characters:
            yield job()
            index, size, text = index + 1, 0, []
    if text:
        yield job()


def _built(jobs: Iterator[ShardJob], kept: dict[int, Shard], workers: int) -> Iterator[tuple[int, Shard]]:
    """Shards in order, each with how far the build is then. Few jobs wait at a time: they hold their text."""
    if workers == 1:
        for job in jobs:
            yield job.done, kept.get(job.index) or write_shard(job)
        return
    # A fork of a process that has loaded torch may hang: its threads are gone, their locks are not.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker)
    waiting: deque[tuple[int, Shard | Future[Shard]]] = deque()

    def first() -> tuple[int, Shard]:
        done, shard = waiting.popleft()
        return done, shard.result() if isinstance(shard, Future) else shard

    try:
        for job in jobs:
            waiting.append((job.done, kept.get(job.index) or pool.submit(write_shard, job)))
            if len(waiting) > workers + 1:
                yield first()
        while waiting:
            yield first()
    except BrokenProcessPool:
        raise OSError(
            "a building process was killed (out of memory?): run it again with fewer workers, what is finished is kept"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
