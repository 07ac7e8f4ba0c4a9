"""Costly results on disk, keyed by everything that can change them, so that an interrupted run resumes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

if TYPE_CHECKING:
    from torch import Tensor

    from gt.subject import Subject


log = logging.getLogger(__name__)


def cache_dir() -> Path:
    """Folder of the cache: GT_CACHE_DIR, or `groundthink` in the user's cache folder."""
    own = os.environ.get("GT_CACHE_DIR")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "groundthink"


SOURCES = {".py", ".cpp", ".h", ".yaml", ".txt"}


@cache
def source_hash() -> str:
    """Hash of this package's own source: a changed probe or kernel never meets an old result."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(path for path in root.rglob("*") if path.suffix in SOURCES):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


class Entry:
    """One cached result: JSON and named tensors.

    Args:
        what: Kind of result, part of the file's name.
        key: Everything that can change it, JSON types only.
    """

    def __init__(self, what: str, key: dict[str, Any]) -> None:
        text = json.dumps({"source": source_hash(), **key}, sort_keys=True)
        self.path = cache_dir() / f"{what}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the entry: of several processes one computes, the others wait and read."""
        lock = FileLock(self.path.with_suffix(".lock"))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            log.warning("nothing is cached: %s; GT_CACHE_DIR names another folder", error)
        try:
            yield
        finally:
            lock.release()

    def read(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """The record and its tensors, or None if there are none or they cannot be read."""
        from safetensors import SafetensorError, safe_open

        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                record: dict[str, Any] = json.loads(file.metadata()["record"])
                return record, {name: file.get_tensor(name) for name in file.keys()}
        except (SafetensorError, OSError, KeyError, ValueError, TypeError):
            return None  # damaged by a crash: measured again

    def write(self, record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Keep a record and its tensors, all or nothing."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        partial = self.path.with_suffix(".partial")
        try:
            save_file(tensors, partial, metadata={"record": json.dumps(record)})
            partial.replace(self.path)
        except (OSError, SafetensorError) as error:
            log.warning("not cached: %s", error)


class Resumable(Entry):
    """A result that a run leaves as it grows, so that another can go on from there.

    Args:
        what: Kind of result.
        key: Everything that can change it, JSON types only.
        run_id: Of this run.
        fresh: Take nothing that another run has left.

    Attributes:
        cached: Whether what was read is another run's.
    """

    def __init__(self, what: str, key: dict[str, Any], run_id: str, fresh: bool) -> None:
        super().__init__(what, key)
        self.run_id, self.fresh, self.cached = run_id, fresh, False

    def read(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """As `Entry.read`; with `fresh`, only what this run itself has left."""
        found = super().read()
        if found is None:
            return None
        others = found[0].pop("run_id") != self.run_id  # what is read is what was written
        if self.fresh and others:
            return None
        self.cached = others
        return found

    def write(self, record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """As `Entry.write`."""
        super().write({**record, "run_id": self.run_id}, tensors)


def resumable(subject: Subject, what: str, **key: Any) -> Resumable:
    """The place on disk of a costly measurement of models of this kind, whatever their weights.

    Args:
        subject: What is measured.
        what: Kind of measurement.
        key: What can change it beside the kind of model and what it runs on, JSON types only.
    """
    from gt.kernels import resolve

    request = subject.plan.request
    return Resumable(
        what,
        {
            "model": subject.identity,
            "sabotage": request.sabotage,
            "seed": subject.seed,
            "corpus": subject.corpus.sha256,
            "tokenizer": subject.tokenizer.sha256,
            "kernels": {op: resolve(op, subject.device.type).backend.name for op in subject.ops},
            "environment": subject.environment(),
            **key,
        },
        request.run_id,
        request.fresh,
    )


Result = tuple[dict[str, Any], "dict[str, Tensor]"]


def remembered(subject: Subject, what: str, compute: Callable[[], Result], **key: Any) -> tuple[Result, bool]:
    """What a training inside a check came to: computed once for everything that can change it.

    With --gt-fresh only what this very run computed (in another process) is taken.

    Args:
        subject: What is trained.
        what: Kind of result.
        compute: Trains; returns a record of JSON types and named tensors.
        **key: What can change the result beside the subject.

    Returns:
        The result, and whether an earlier run computed it.
    """
    entry = resumable(subject, what, **key)
    with entry.lock():
        found = entry.read()
        if found is not None:
            return found, entry.cached
        record, tensors = compute()
        # JSON has no NaN, and a run that broke off is quick to repeat.
        if _is_finite(record):
            entry.write(record, tensors)
    return (record, tensors), False


def _is_finite(record: dict[str, Any]) -> bool:
    try:
        json.dumps(record, allow_nan=False)
    except ValueError:
        return False
    return True
