"""Tokens on disk: memory-mapped shards with a manifest, read at any place. Imports no torch."""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from gt.checkpoint import sha256_of

FORMAT = "groundthink.tokens/1"
MANIFEST = "manifest.json"
PARTS = ("train", "valid")

WEIGHT_UNIT = 16
"""A token's weight in the loss is its stored weight divided by this; 0 is not scored."""

Integers = npt.NDArray[np.integer[Any]]


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was tokenised, as it was."""

    path: str
    size: int
    mtime_ns: int
    sha256: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what the shards hold.

    Attributes:
        format: Version of this format.
        source: The source's fields (without its weight and where its windows start); for conversations the hash of
            the generator too, for Hugging Face datasets the commit on the hub, None where it is not known.
        files: The source's files.
        tokenizer_sha256: Hash of the tokenizer's file.
        vocab_size: Of the tokenizer.
        end_of_text: Token that ends a document.
        valid_share: Share that is held out for validation.
        shard_characters: Text of a shard.
    """

    format: str = FORMAT
    source: dict[str, Any]
    files: tuple[SourceFile, ...]
    tokenizer_sha256: str
    vocab_size: int
    end_of_text: int | None
    valid_share: float
    shard_characters: int


class ShardPart(msgspec.Struct, frozen=True, kw_only=True):
    """What one shard holds of training or of validation.

    Attributes:
        tokens: Number of tokens.
        documents: Number of documents that begin here.
        weighted: Whether there are weights.
        sha256: Hash of each file, by its name.
    """

    tokens: int = 0
    documents: int = 0
    weighted: bool = False
    sha256: dict[str, str] = {}


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """A finished shard."""

    index: int
    characters: int
    parts: dict[str, ShardPart]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder of shards holds.

    Attributes:
        plan: How they were made.
        tokens: Tokens of each part.
        documents: Documents of each part.
        shards: The shards in order.
    """

    plan: Plan
    tokens: dict[str, int]
    documents: dict[str, int]
    shards: tuple[Shard, ...]


def shard_file(index: int, part: str, what: str) -> str:
    """Name of a file of a shard; `what` is tokens, starts or weights."""
    return f"{index:05d}.{part}.{what}.npy"


class Tokens:
    """Tokens of documents in a row, wherever they are kept.

    Args:
        tokens: Token ids, in arrays that follow each other.
        starts: For each array, where documents begin in it, rising.
        weights: For each array, the weight of each token in sixteenths; None where every token counts alike.
        name: What they are, for messages.
        generated: Whether they were composed by a generator, so that passages recur by design.
    """

    def __init__(
        self,
        tokens: Sequence[Integers],
        starts: Sequence[Integers],
        weights: Sequence[Integers] | None = None,
        name: str = "tokens",
        generated: bool = False,
    ) -> None:
        self.arrays = tuple(tokens)
        self.name = name
        self.generated = generated
        self.weighted = weights is not None
        self._starts = tuple(starts)
        self._weights = tuple(weights or ())
        self._offsets = list(itertools.accumulate(map(len, self.arrays), initial=0))
        self._first_documents = list(itertools.accumulate(map(len, self._starts), initial=0))

    def __len__(self) -> int:
        return self._offsets[-1]

    @property
    def documents(self) -> int:
        """Number of documents."""
        return self._first_documents[-1]

    def read(self, start: int, length: int) -> npt.NDArray[np.int64]:
        """Tokens from a place on [length].

        Raises:
            ValueError: If they end before.
        """
        return self._read(self.arrays, start, length)

    def read_weights(self, start: int, length: int) -> npt.NDArray[np.int64]:
        """Weights, in sixteenths, of tokens from a place on [length]."""
        if not self.weighted:
            return np.full(length, WEIGHT_UNIT, dtype=np.int64)
        return self._read(self._weights, start, length)

    def document_start(self, index: int) -> int:
        """Where a document begins, by its number."""
        array = bisect.bisect_right(self._first_documents, index) - 1
        return self._offsets[array] + int(self._starts[array][index - self._first_documents[array]])

    def document_at(self, position: int) -> int:
        """Number of the document that a token belongs to."""
        return bisect.bisect_right(range(self.documents), position, key=self.document_start) - 1

    def parts(self) -> Iterator[tuple[Integers, Integers, bool]]:
        """The arrays: tokens, where documents begin in them, and whether the last document goes on in the next."""
        for index, (array, starts) in enumerate(zip(self.arrays, self._starts, strict=True)):
            following = self._starts[index + 1][:1] if index + 1 < len(self.arrays) else (0,)
            goes_on = not (len(following) and following[0] == 0)
            yield array, starts, goes_on

    def _read(self, arrays: Sequence[Integers], start: int, length: int) -> npt.NDArray[np.int64]:
        if start < 0 or start + length > len(self):
            raise ValueError(f"{self.name} has {len(self):,} tokens: cannot read {length:,} from {start:,} on")
        array = bisect.bisect_right(self._offsets, start) - 1
        found = []
        while length > 0:
            begin = start - self._offsets[array]
            part = arrays[array][begin : begin + length]
            found.append(part)
            start, length, array = start + len(part), length - len(part), array + 1
        return np.concatenate(found, dtype=np.int64) if found else np.zeros(0, dtype=np.int64)


class WeightedTokens(NamedTuple):
    """Tokens and how training windows are taken from them.

    Attributes:
        tokens: The tokens.
        weight: Share of the windows, relative to the others.
        start: "anywhere", or at a "document", which then goes on into the documents after it.
    """

    tokens: Tokens
    weight: float = 1.0
    start: str = "anywhere"


class Store:
    """A folder of shards.

    Args:
        folder: A folder that was built by `gt.data.shards.build_store`.
        tokenizer_sha256: Hash of the tokenizer that the tokens must be of; None if any will do.

    Raises:
        ValueError: One line, if it is not finished, is damaged or is of another tokenizer.
    """

    def __init__(self, folder: Path, tokenizer_sha256: str | None = None) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        plan = self.manifest.plan
        if tokenizer_sha256 not in (None, plan.tokenizer_sha256):
            raise ValueError(
                f"{folder} holds tokens of tokenizer {plan.tokenizer_sha256[:12]}, but {str(tokenizer_sha256)[:12]} "
                "was asked for: build the shards again, or use the tokenizer that they were built with"
            )
        self.train = self._tokens("train")
        self.valid = self._tokens("valid")

    @property
    def generated(self) -> bool:
        """Whether the documents are generated conversations."""
        return "generator_sha256" in self.manifest.plan.source

    @property
    def sha256(self) -> str:
        """Hash of the tokens and their division, whatever the files were called that they came from."""
        plan = self.manifest.plan
        content = [plan.tokenizer_sha256, [shard.parts for shard in self.manifest.shards]]
        return hashlib.sha256(msgspec.json.encode(content)).hexdigest()

    def verify(self) -> None:
        """Compare every shard with its hash.

        Raises:
            ValueError: If one differs.
        """
        for shard in self.manifest.shards:
            for part in shard.parts.values():
                for name, expected in part.sha256.items():
                    if sha256_of(self.folder / name) != expected:
                        raise ValueError(f"{self.folder / name} is not as it was written: build the shards again")

    def _tokens(self, part: str) -> Tokens:
        plan = self.manifest.plan
        kept = [(shard.index, shard.parts[part]) for shard in self.manifest.shards if shard.parts[part].tokens]
        arrays: dict[str, list[Integers]] = {"tokens": [], "starts": [], "weights": []}
        for index, content in kept:
            sizes = {"tokens": content.tokens, "starts": content.documents}
            if content.weighted:
                sizes["weights"] = content.tokens
            for what, size in sizes.items():
                arrays[what].append(self._array(shard_file(index, part, what), size))
        weighted = any(content.weighted for _, content in kept)
        return Tokens(
            arrays["tokens"],
            arrays["starts"],
            arrays["weights"] if weighted else None,
            name=f"{plan.source['path']} ({part})" if plan.valid_share else plan.source["path"],
            generated=self.generated,
        )

    def _array(self, name: str, size: int) -> Integers:
        if not size:
            return np.zeros(0, dtype=np.uint32)  # an empty file cannot be mapped
        try:
            array: Integers = np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{self.folder / name} is damaged ({error}): build the shards again") from None
        if array.shape != (size,):
            raise ValueError(
                f"{self.folder / name} holds {array.shape} numbers, expected {size:,}: build the shards again"
            )
        return array


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder of shards.

    Raises:
        ValueError: If there is none, or it cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder} has no {MANIFEST}: expected a folder of finished shards; build them first")
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (msgspec.MsgspecError, OSError) as error:
        raise ValueError(f"{path} is not a manifest of shards ({error}): build them again") from None
    if manifest.plan.format != FORMAT:
        raise ValueError(f"{path} has format {manifest.plan.format!r}, this version reads {FORMAT!r}: build them again")
    return manifest
