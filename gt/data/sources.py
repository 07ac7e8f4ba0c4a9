"""Sources of text, read as a stream of pieces, so that a source of any size needs the same memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from glob import has_magic
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

from gt.data.config import DataSource
from gt.data.conversations import Material
from gt.data.conversations.material import NOTHING
from gt.data.corpus import DOCUMENT_SEPARATOR
from gt.data.generated import examples_of, generated_count, material_of, text_of
from gt.data.hugging_face import dataset_files, dataset_rows
from gt.data.text_files import PACKED, open_text

PIECE = 1 << 16
"""Most characters of a piece: a longer document is read, tokenised and written piece by piece."""

TOKENIZER_CHARACTERS = 200_000_000
"""Text that a tokenizer is trained on, at most: more does not change which pieces are common."""

LINES = (".jsonl", ".ndjson")
TEXT = (".txt", ".text", ".md")


class Piece(NamedTuple):
    """A document or a part of one.

    Attributes:
        text: The text, without blanks around the document.
        ends: Whether the document ends here.
        position: Bytes of the source's files read so far; 0 where there are no files.
    """

    text: str
    ends: bool
    position: int = 0


def source_files(source: DataSource) -> list[Path]:
    """The files that a source means, in the order in which they are read.

    Those of conversations are their prose, those of a Hugging Face dataset all in its folder if it is a local one.

    Raises:
        ValueError: If there are none.
    """
    if source.is_dataset:
        return dataset_files(source.path)
    if source.is_generated:
        return [] if source.prose is None else source_files(DataSource(path=source.prose))
    path = Path(source.path)
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.is_file() and _suffix(p) in (*TEXT, *LINES))
        hidden = [p for p in found if any(part.startswith(".") for part in p.relative_to(path).parts)]
        found = [p for p in found if p not in set(hidden)]
        expected = f"a text in it ({', '.join((*TEXT, *LINES))}, also packed as {', '.join(PACKED)})"
    elif path.exists():
        found, expected = [path], ""
    elif has_magic(source.path):
        pattern = path.relative_to(path.anchor)  # pathlib takes no absolute pattern
        found = sorted(p for p in Path(path.anchor).glob(str(pattern)) if p.is_file())
        expected = "a file that fits this pattern"
    else:
        found, expected = [Path(split_field(source)[0])], ""
        if not found[0].is_file():
            raise ValueError(f"{source.path}: no such file or folder: check the path")
    if not found:
        raise ValueError(f"{source.path}: got no file, expected {expected}")
    once: dict[Path, Path] = {}
    for file in found:
        once.setdefault(file.resolve(), file)
    return list(once.values())


def split_field(source: DataSource) -> tuple[str, str]:
    """Path and field of JSON lines: `FILE.jsonl:FIELD` names both."""
    path, colon, field = source.path.rpartition(":")
    if colon and field and not Path(source.path).exists() and _suffix(Path(path)) in LINES:
        return path, field
    return source.path, source.field


def pieces(source: DataSource) -> Iterator[Piece]:
    """The documents of a source, in pieces. Conversations are generated elsewhere: they carry weights.

    A text file holds one document, or several that lines reading `<|endoftext|>` separate. A document longer than
    `PIECE` is cut before white space, where byte-level BPE cuts as well: its tokens are those of the whole.

    Raises:
        ValueError: One line with file, line number and what was expected.
    """
    if source.is_generated:
        raise ValueError(f"{source.path} is generated, not read")
    found = _dataset_pieces(source) if source.is_dataset else _file_pieces(source)
    return found if source.count is None else _first_documents(found, source.count)


def texts(sources: Iterable[DataSource], characters: int | None = None) -> Iterator[str]:
    """Text to train a tokenizer on: the sources in turn, a piece or a conversation of each.

    Args:
        sources: Where the text comes from; weights are not looked at.
        characters: Most text to take; all of it by default.
    """
    streams = [_texts_of(source) for source in sources]
    taken = 0
    while streams:
        for stream in tuple(streams):
            text = next(stream, None)
            if text is None:
                streams.remove(stream)
                continue
            yield text
            taken += len(text)
            if characters is not None and taken >= characters:
                return


def _texts_of(source: DataSource) -> Iterator[str]:
    if not source.is_generated:
        return (piece.text for piece in pieces(source))
    return map(text_of, examples_of(source, 0, generated_count(source), prose_material(source)))


def prose_material(source: DataSource) -> Material:
    """What the conversations of a source take from their prose.

    Raises:
        ValueError: If it cannot be read.
    """
    if source.prose is None:
        return NOTHING
    states = (path.stat() for path in source_files(source))
    return _material(source.prose, tuple((state.st_size, state.st_mtime_ns) for state in states))


@cache
def _material(prose: str, states: tuple[tuple[int, int], ...]) -> Material:
    return material_of(piece.text for piece in pieces(DataSource(path=prose)))


def _suffix(path: Path) -> str:
    """What a file is, whatever it is packed in."""
    return Path(path.stem).suffix if path.suffix in PACKED else path.suffix


def _file_pieces(source: DataSource) -> Iterator[Piece]:
    field = split_field(source)[1]
    before = 0
    for path in source_files(source):
        with open_text(path) as (stream, file):
            read = _line_pieces(path, stream, field) if _suffix(path) in LINES else _text_pieces(stream)
            for text, ends in read:
                yield Piece(text, ends, before + file.tell())
        before += path.stat().st_size


def _text_pieces(stream: TextIOWrapper) -> Iterator[tuple[str, bool]]:
    held: list[str] = []
    size = 0
    begun = False  # whether a piece of this document is out
    line_starts = True
    while line := stream.readline(PIECE):
        if line_starts and line.strip() == DOCUMENT_SEPARATOR:
            if (rest := _stripped("".join(held), begun)) or begun:
                yield rest, True
            held, size, begun = [], 0, False
            continue
        line_starts = line.endswith("\n")
        held.append(line)
        size += len(line)
        if size >= PIECE:
            text = "".join(held)
            text = text if begun else text.lstrip()
            while len(text) >= PIECE:
                end = _cut(text, PIECE)
                yield text[:end], False
                text, begun = text[end:], True
            held, size = [text], len(text)
    if (rest := _stripped("".join(held), begun)) or begun:
        yield rest, True


def _stripped(text: str, begun: bool) -> str:
    return text.rstrip() if begun else text.strip()


def _cut(text: str, longest: int) -> int:
    """Where to cut a text: before the last white space within `longest` characters, or there if there is none."""
    end = max(text.rfind(" ", 0, longest), text.rfind("\n", 0, longest))
    return len(text[: end + 1].rstrip()) or longest


def _pieces_of(text: str) -> Iterator[tuple[str, bool]]:
    text = text.strip()
    start = 0
    while len(text) - start > PIECE:
        end = start + _cut(text[start : start + PIECE], PIECE)
        yield text[start:end], False
        start = end
    if text:
        yield text[start:], True


def _line_pieces(path: Path, stream: TextIOWrapper, field: str) -> Iterator[tuple[str, bool]]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error}): expected an object on each line") from None
        yield from _pieces_of(_text_of(record, field, f"{path}, line {number}"))


def _text_of(record: Any, field: str, where: str) -> str:
    """The text of a record, of which everything else may be anything."""
    if not isinstance(record, dict):
        raise ValueError(f"{where}: got {type(record).__name__}, expected an object with the field {field!r}")
    if field not in record:
        raise ValueError(f"{where}: no field {field!r}, there are {', '.join(map(repr, record))}: name one with field")
    text = record[field]
    if not isinstance(text, str):
        raise ValueError(f"{where}: field {field!r} is {type(text).__name__}, expected a string")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{where}: field {field!r} is no Unicode text ({error.reason})") from None
    return text


def _dataset_pieces(source: DataSource) -> Iterator[Piece]:
    for number, row in enumerate(dataset_rows(source.path), 1):
        for text, ends in _pieces_of(_text_of(row, source.field, f"{source.path}, row {number}")):
            yield Piece(text, ends)


def _first_documents(found: Iterator[Piece], count: int) -> Iterator[Piece]:
    for piece in found:
        yield piece
        count -= piece.ends
        if not count:
            return
