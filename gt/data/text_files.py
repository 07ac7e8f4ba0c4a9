"""Text files, plain or packed, opened in one way with one-line errors."""

from __future__ import annotations

import gzip
import importlib
import lzma
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, cast

PACKED = (".gz", ".xz", ".zst")


@contextmanager
def open_text(path: Path) -> Iterator[tuple[TextIOWrapper, BinaryIO]]:
    """Open UTF-8 text that may be packed as .gz, .xz or .zst.

    Yields:
        The text, without a byte-order mark and with newlines for all line ends, and the file itself, whose position
        says how much of it was read.

    Raises:
        ValueError: One line, also while the text is read: missing, not a file, damaged, not UTF-8, or packed in a way
            that this Python cannot unpack.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such file: check the path")
    if not path.is_file():
        raise ValueError(f"{path}: is {'a directory' if path.is_dir() else 'not a regular file'}, expected a text file")
    zstd = _zstd(path) if path.suffix == ".zst" else None
    damaged = (OSError, EOFError, lzma.LZMAError, zlib.error) + ((zstd.ZstdError,) if zstd else ())
    try:
        with path.open("rb") as file:
            if zstd:
                unpacked = zstd.open(file)
            elif path.suffix == ".gz":
                unpacked = gzip.open(file)
            elif path.suffix == ".xz":
                unpacked = lzma.open(file)
            else:
                unpacked = file
            yield TextIOWrapper(cast(BinaryIO, unpacked), encoding="utf-8-sig"), file
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 ({error.reason} near byte {error.start} of what was read): convert it, for instance "
            "with iconv -t UTF-8"
        ) from None
    except damaged as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path}: cannot be read ({reason})") from None


def _zstd(path: Path) -> Any:
    """`compression.zstd` of Python 3.14, or its backport; both notice a file that was cut off."""
    try:
        return importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    except ImportError:
        raise ValueError(
            f"{path}: this Python cannot unpack .zst; expected Python 3.14 or the package backports.zstd: "
            "pip install 'pytest-groundthink[zstd]'"
        ) from None
