"""Costly results on disk, keyed by everything that can change them, so that an interrupted run resumes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

if TYPE_CHECKING:
    from torch import Tensor


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
        if found is None or (self.fresh and found[0]["run_id"] != self.run_id):
            return None
        self.cached = found[0]["run_id"] != self.run_id
        return found

    def write(self, record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """As `Entry.write`."""
        super().write({**record, "run_id": self.run_id}, tensors)
