"""`groundthink data`: build shards of tokens and look into them. What it needs is imported when it runs."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from gt.data.config import DataSource
from gt.training.config import TrainConfig

if TYPE_CHECKING:
    from rich.console import Console

    from gt.data.store import Store
    from gt.tokenizers import Tokenizer

data = App(name="data", help="Build shards of tokens from text, datasets and conversations, and look into them.")

TOKENIZER_SETTINGS = "tokenizer-settings.json"
"""Beside a tokenizer that was trained here: what it was asked to be, which need not be what came of it."""


@dataclass(kw_only=True, slots=True)
class BuildConfig:
    """Settings of `groundthink data build`.

    Attributes:
        out: Folder of the shards; each source gets a folder in it. By default runs/shards.
        config: A training preset, as a YAML file or by name: its `data` (a list of paths, or of mappings with path,
            weight, field, start, count, skills, seed, prose), `valid`, `shards`, `tokenizer`, `tokenizer_kind`,
            `vocab_size`, `valid_share`, `allow_leaks` and `workers` are taken where the command line says nothing.
        valid: Texts to validate on; by default a share of each source is held out.
        valid_share: The share, 0.1 by default.
        tokenizer: A tokenizer.json; by default the one in `out`, which is trained first if there is none.
        kind: Kind of tokenizer that is trained: bpe by default. One that is there already must be of this kind.
        vocab_size: Its size, 8,192 by default; of a character tokenizer, the most that it may have. One that is there
            already must have been trained with it.
        workers: Processes; by default as many as this machine has cores.
        allow_leaks: Accept validation text that occurs in training.
    """

    out: Path | None = None
    config: str | None = None
    valid: tuple[str, ...] = ()
    valid_share: float | None = None
    tokenizer: Path | None = None
    kind: Literal["bpe", "char"] | None = None
    vocab_size: int | None = None
    workers: int | None = None
    allow_leaks: bool | None = None


@dataclass(kw_only=True, slots=True)
class _Build:
    """What is built: what the command line says, over what the preset says, over what `groundthink train` does."""

    sources: list[DataSource]
    valid: list[DataSource]
    out: Path
    tokenizer: Path | None
    kind: Literal["bpe", "char"] | None
    vocab_size: int | None
    valid_share: float
    allow_leaks: bool
    workers: int

    @classmethod
    def of(cls, paths: tuple[str, ...], config: BuildConfig) -> _Build:
        """Bring both together.

        Raises:
            ValueError: If the preset cannot be read, there is no source, or a setting or source makes no sense: found
                out before anything is trained or built.
        """
        from pytest_groundthink.presets import read_preset

        preset = {} if config.config is None else read_preset(config.config)

        def setting(name: str, key: str, default: Any = None) -> Any:
            value = getattr(config, name)
            return preset.get(key, default) if value is None else value

        def sources(given: tuple[str, ...], key: str) -> list[DataSource]:
            return [DataSource(path=path) for path in given] + [DataSource(**item) for item in preset.get(key, ())]

        usual, tokenizer = TrainConfig(), setting("tokenizer", "tokenizer")
        if tokenizer is None and preset.get("init") is not None:
            tokenizer = Path(preset["init"]) / "tokenizer.json"  # the run will take that one
        build = cls(
            sources=sources(paths, "data"),
            valid=sources(config.valid, "valid"),
            out=Path(setting("out", "shards", usual.shards)),
            tokenizer=None if tokenizer is None else Path(tokenizer),
            kind=setting("kind", "tokenizer_kind"),
            vocab_size=setting("vocab_size", "vocab_size"),
            valid_share=setting("valid_share", "valid_share", usual.valid_share),
            allow_leaks=setting("allow_leaks", "allow_leaks", usual.allow_leaks),
            workers=setting("workers", "workers", os.cpu_count() or 1),
        )
        if not build.sources:
            raise ValueError("no source: give files, folders, hf:NAME or conversations:, or --config FILE with `data`")
        build._check()
        return build

    def _check(self) -> None:
        from gt.data.sources import source_files
        from gt.data.store import MANIFEST

        if not 0 <= self.valid_share < 1:
            raise ValueError(f"valid_share is {self.valid_share}: expected at least 0 and below 1")
        if self.workers < 1:
            raise ValueError(f"workers is {self.workers}: expected at least 1")
        for source in (*self.sources, *self.valid):
            if not (Path(source.path) / MANIFEST).is_file():
                source_files(source)


@data.command
def build(*sources: str, config: Annotated[BuildConfig | None, Parameter(name="*")] = None) -> None:
    """Tokenise sources into memory-mapped shards that `groundthink train` reads.

    An interrupted build goes on where it was; what is built already is opened. Validation text that occurs in
    training is refused.

    Args:
        sources: Text files, folders, globs, `FILE.jsonl:FIELD`, `hf:NAME` or `conversations:`.
        config: Settings.
    """
    with _errors("build") as console:
        _build(_Build.of(sources, config or BuildConfig()), console)


@data.command
def inspect(
    folder: Path, *, tokenizer: Path | None = None, windows: int = 2, length: int = 64, verify: bool = False
) -> None:
    """Print what shards hold: sources, counts, hashes, and a few windows as text.

    Args:
        folder: A folder of shards, or one with such folders in it.
        tokenizer: A tokenizer.json; by default the one beside the shards.
        windows: Windows of each source.
        length: Tokens of a window.
        verify: Read every shard and compare its hash, for instance after copying them.
    """
    with _errors("inspect") as console:
        from gt.data.store import MANIFEST, Store

        for name, value, least in (("windows", windows, 0), ("length", length, 1)):
            if value < least:
                raise ValueError(f"{name} is {value}: expected at least {least}")
        stores = (
            [folder] if (folder / MANIFEST).is_file() else sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
        )
        if not stores:
            raise ValueError(f"{folder} holds no shards: expected a folder that `groundthink data build --out` made")
        for path in stores:
            store = Store(path)
            _describe(store, _reader(path, tokenizer), windows, length, console)
            if verify:
                store.verify()
                console.print("  verified   every shard is as it was written")


@contextmanager
def _errors(command: str) -> Iterator[Console]:
    from rich.console import Console

    console = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        yield console
    except (ValueError, OSError) as error:
        console.print(f"groundthink data {command}: {error}", style="red")
        sys.exit(4)
    except KeyboardInterrupt:
        console.print(f"groundthink data {command}: interrupted; what is finished is kept")
        sys.exit(130)


def _build(build: _Build, console: Console) -> None:
    from gt.data.dataset import prepare

    tokenizer = build.tokenizer or build.out / "tokenizer.json"
    if build.tokenizer is not None or tokenizer.is_file():
        _require_settings(tokenizer, build)
    else:
        _train_tokenizer(build, tokenizer, console)
    with _progress(console) as report:
        dataset = prepare(
            build.sources,
            tokenizer,
            build.out,
            valid=build.valid,
            valid_share=build.valid_share,
            allow_leaks=build.allow_leaks,
            workers=build.workers,
            report=report,
        )
    for role, parts in (("train", dataset.train), ("valid", dataset.valid)):
        for part in parts:
            console.print(f"{part.tokens.name}: {len(part.tokens):,} tokens in {part.tokens.documents:,} documents")
        console.print(f"{role}: {sum(len(part.tokens) for part in parts):,} tokens")
    console.print(f"shards: {build.out}\ntokenizer: {tokenizer}\nsha256: {dataset.sha256}")


def _train_tokenizer(build: _Build, path: Path, console: Console) -> None:
    from gt.data.sources import TOKENIZER_CHARACTERS, texts
    from gt.tokenizers import train_tokenizer

    console.print(f"training a tokenizer: {path}")
    usual = TrainConfig()
    kind = usual.tokenizer_kind if build.kind is None else build.kind
    vocab_size = usual.vocab_size if build.vocab_size is None else build.vocab_size
    train_tokenizer(texts(build.sources, TOKENIZER_CHARACTERS), kind, vocab_size, path)
    settings = {"kind": kind, "vocab_size": vocab_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    path.with_name(TOKENIZER_SETTINGS).write_text(json.dumps(settings) + "\n", encoding="utf-8")


def _require_settings(path: Path, build: _Build) -> None:
    """Refuse a tokenizer that was trained with other settings than are asked for."""
    from gt.tokenizers import Tokenizer

    found = Tokenizer(path)
    settings: dict[str, Any] = {"kind": "bpe" if found.kind == "subword" else "char", "vocab_size": found.vocab_size}
    try:
        # A text may be too small for the size that was asked for: the tokenizer's own says nothing about that.
        trained = json.loads(path.with_name(TOKENIZER_SETTINGS).read_bytes())
        if trained["sha256"] == found.sha256:
            settings = trained
    except (OSError, ValueError, LookupError, TypeError):
        pass  # trained elsewhere
    for name, option in (("kind", "--kind"), ("vocab_size", "--vocab-size")):
        asked = getattr(build, name)
        if asked not in (None, settings[name]):
            raise ValueError(
                f"{option} is {asked}, but the tokenizer {path} was trained with {settings[name]}: leave it out, or "
                "give another folder (--out)"
            )


@contextmanager
def _progress(console: Console) -> Iterator[Any]:
    """A bar for each source that is built; those that are there already have none."""
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[tokens]:,} tokens"),
        TimeRemainingColumn(),
    )
    tasks: dict[tuple[str, int | None], TaskID] = {}
    with Progress(*columns, console=console) as bars:

        def report(progress: Any) -> None:
            key = progress.source, progress.total  # training and validation may both have a source of one name
            if key not in tasks:
                tasks[key] = bars.add_task(progress.source, total=progress.total, tokens=0)
            bars.update(tasks[key], completed=progress.done, tokens=progress.tokens)

        yield report


def _reader(folder: Path, tokenizer: Path | None) -> Tokenizer | None:
    from gt.tokenizers import Tokenizer

    if tokenizer is not None:
        return Tokenizer(tokenizer)
    beside = folder.parent / "tokenizer.json"
    return Tokenizer(beside) if beside.is_file() else None


def _describe(store: Store, reader: Tokenizer | None, windows: int, length: int, console: Console) -> None:
    plan = store.manifest.plan
    console.print(str(store.folder), style="bold")
    given = {name: value for name, value in plan.source.items() if value not in (None, "", 0)}
    console.print(f"  source     {', '.join(f'{name} {value}' for name, value in given.items())}")
    for file in plan.files:
        console.print(f"  file       {file.path}, {file.size:,} bytes, sha256 {file.sha256[:12]}")
    console.print(f"  tokenizer  {plan.vocab_size:,} tokens, sha256 {plan.tokenizer_sha256[:12]}")
    parts = {"train": store.train, "valid": store.valid} if plan.valid_share else {"text": store.train}
    for label, part in parts.items():
        console.print(f"  {label:<9}  {len(part):,} tokens in {part.documents:,} documents")
    console.print(f"  shards     {len(store.manifest.shards)}")
    if reader is None or reader.sha256 != plan.tokenizer_sha256:
        console.print("  windows    as text with --tokenizer, the one that the shards were built with")
        return
    tokens = store.train
    for index in range(windows if len(tokens) else 0):
        place = (2 * index + 1) * tokens.documents // (2 * windows)
        begin = (
            tokens.document_start(place)
            if tokens.documents > windows
            else (2 * index + 1) * len(tokens) // (2 * windows)
        )
        text = reader.decode(tokens.read(begin, min(length, len(tokens) - begin)).tolist())
        console.print(f"  at {begin:,}: {text!r}")
