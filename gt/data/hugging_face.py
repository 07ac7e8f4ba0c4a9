"""Hugging Face datasets as a source: what `hf:` names, its rows, and which version of it is read."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gt.data.config import HUGGING_FACE

_TIMEOUT = 10.0  # seconds in which the hub must name a version


def dataset_name(path: str) -> tuple[str, str | None, str]:
    """Name, configuration and split of `hf:NAME`, `hf:OWNER/NAME[/CONFIG][:SPLIT]` or `hf:./FOLDER[:SPLIT]`.

    Raises:
        ValueError: If there is no name, or more parts than these.
    """
    name, _, split = path.removeprefix(HUGGING_FACE).partition(":")
    config = None
    if not name.startswith((".", "/")):
        parts = name.split("/")
        if len(parts) > 3 or not all(parts):
            raise ValueError(f"{path}: expected hf:NAME, hf:OWNER/NAME[/CONFIG][:SPLIT] or hf:./FOLDER[:SPLIT]")
        if len(parts) == 3:
            name, config = "/".join(parts[:2]), parts[2]
    return name, config, split or "train"


def dataset_rows(path: str) -> Iterator[Any]:
    """The rows of a dataset, streamed.

    Raises:
        ValueError: One line, also in the middle of the rows: it cannot be loaded or read, or the package is missing.
    """
    name, config, split = dataset_name(path)
    try:
        datasets = importlib.import_module("datasets")
    except ImportError:
        raise ValueError(f"{path}: needs the package datasets: pip install 'pytest-groundthink[hf]'") from None
    number = 0
    try:
        for row in datasets.load_dataset(name, config, split=split, streaming=True):
            yield row
            number += 1
    except Exception as error:  # whatever a dataset's loader, or the network, may raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        problem = f"cannot be read after row {number:,}" if number else "cannot be loaded"
        raise ValueError(f"{path}: {problem}: {reason}") from None


def dataset_files(path: str) -> list[Path]:
    """The files of a dataset in a local folder; none of one on the hub."""
    folder = Path(dataset_name(path)[0])
    found = sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else []
    return [file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts)]


def dataset_revision(path: str) -> str | None:
    """The commit of a dataset on the hub; None of a local one, or where the hub cannot be asked."""
    name = dataset_name(path)[0]
    if Path(name).is_dir():
        return None
    try:
        hub = importlib.import_module("huggingface_hub")
        revision: str | None = hub.HfApi().dataset_info(name, timeout=_TIMEOUT).sha
    except Exception:  # offline, without the package, or not on this hub: shards that are there can still be opened
        return None
    return revision
