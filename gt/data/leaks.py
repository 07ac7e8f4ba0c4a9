"""Validation text that occurs in training: documents that both have, and passages of 64 tokens. Imports no torch."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from gt.data.store import Tokens

WINDOW = 64
"""Tokens of a passage that must not be in both."""

_STRETCH = WINDOW // 2
_STRIDE = WINDOW - _STRETCH + 1
"""What is looked up are stretches of 32 tokens. A passage of 64 holds 33 of them, one of which begins at a multiple of
33: it is enough to know those of the validation text, and to look at every place of the training text."""

_REACH = WINDOW - _STRETCH  # how far a passage may go beyond its stretch, on either side
_CONTEXT = _STRETCH + 2 * _REACH
_CHUNK = 1 << 17  # tokens at a time: their hashes stay in the processor's cache
_AT_ONCE = 1 << 14  # passages that are compared at a time
_UPPER = np.uint64(42)  # the shift that leaves the upper 22 bits of a hash
_LONGEST = 1 << 16  # tokens; a longer document shares passages if it shares anything

_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd: 2^64 over the golden ratio
_POWERS = np.cumprod(np.append(np.uint64(1), np.full(_LONGEST, _FACTOR)), dtype=np.uint64)

Integers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


class Leak(msgspec.Struct, frozen=True, kw_only=True):
    """Validation text that a training source has as well.

    Attributes:
        train: Name of the training tokens.
        valid: Name of the validation tokens.
        documents: Documents, too short for a passage or generated, that both have.
        passages: Separate stretches of the training text that hold at least 64 tokens of validation text.
        train_document: Training document of the first of them.
        valid_document: Validation document of the first of them.
        tokens: Tokens of the first of them, 64 at most.
    """

    train: str
    valid: str
    documents: int
    passages: int
    train_document: int
    valid_document: int
    tokens: tuple[int, ...]


def find_leaks(train: Sequence[Tokens], valid: Sequence[Tokens]) -> list[Leak]:
    """Look for validation text in training text.

    Every passage of 64 tokens that both have is found, and every shorter document. Where a generator composed both,
    passages recur by design, and only whole documents count. Passages are compared token by token, documents by hashes
    of 64 bits.

    Args:
        train: Tokens to train on.
        valid: Tokens to validate on.

    Returns:
        What was found, for each pair of sources that share text.
    """
    found = []
    for held_out in filter(len, valid):
        index = _Index(held_out)
        for source in train:
            documents = _shared_documents(source, held_out)
            passages = index.passages(source) if not (source.generated and held_out.generated) else []
            if not documents and not passages:
                continue
            if passages:
                in_train, in_valid = passages[0]
                places = source.document_at(in_train), held_out.document_at(in_valid)
                begin, end = in_train, in_train + WINDOW
            else:
                places = documents[0]
                begin = source.document_start(places[0])
                end = source.document_start(places[0] + 1) if places[0] + 1 < source.documents else len(source)
            found.append(
                Leak(
                    train=source.name,
                    valid=held_out.name,
                    documents=len(documents),
                    passages=len(passages),
                    train_document=places[0],
                    valid_document=places[1],
                    tokens=tuple(source.read(begin, min(end - begin, WINDOW)).tolist()),
                )
            )
    return found


class LeakedShares(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the validation text training text has as well, each from 0 to 1.

    Attributes:
        text: Share of its separate stretches of 32 tokens.
        documents: Share of its documents in which such a stretch begins or that, too short for a passage or generated,
            are the same as a whole.
        windows: Share of the windows that the validation loss is taken of that hold such a stretch, counted from
            their start.
    """

    text: float = 0.0
    documents: float = 0.0
    windows: float = 0.0


def leaked_shares(
    train: Sequence[Tokens], valid: Sequence[Tokens], windows: Sequence[Integers | None] = ()
) -> LeakedShares:
    """How much validation text occurs in training.

    By hashes of 64 bits. As in `find_leaks`, text that a generator composed is compared with its own by whole documents
    alone.

    Args:
        train: Tokens to train on.
        valid: Tokens to validate on.
        windows: Of each of `valid`, the windows [N, T] that are validated on; None or nothing where there are none.
    """
    totals, found = np.zeros(3), np.zeros(3)
    for held_out, rows in itertools.zip_longest(valid, windows):
        if not len(held_out):
            continue
        in_text = _apart(held_out.read(0, len(held_out))[None])
        in_windows = _apart(np.zeros((0, 1), dtype=np.int64) if rows is None else rows)
        wanted = np.concatenate([in_text.ravel(), in_windows.ravel()])
        known = np.zeros(len(wanted), dtype=bool)
        # `isin` sorts all that it is given: most stretches of training are left out by the upper bits of their hashes.
        possible = np.zeros(1 << 22, dtype=bool)
        possible[wanted >> _UPPER] = True
        leaked = np.zeros(held_out.documents, dtype=bool)
        for source in train:
            leaked |= _leaked_documents(source, held_out)
            if source.generated and held_out.generated:
                continue
            for _, padded in _chunks(source, outside=-2):
                rolling = _rolling(padded)
                known |= np.isin(wanted, rolling[possible[rolling >> _UPPER]])
        stretches, of_windows = known[: in_text.size], known[in_text.size :].reshape(in_windows.shape)
        leaked[np.searchsorted(_starts(held_out), np.flatnonzero(stretches) * _STRETCH, side="right") - 1] = True
        totals += (len(stretches), len(leaked), len(of_windows))
        found += (stretches.sum(), leaked.sum(), of_windows.any(axis=1).sum())
    text, documents, in_windows_share = (found / np.maximum(totals, 1)).tolist()
    return LeakedShares(text=text, documents=documents, windows=in_windows_share)


def _apart(rows: Integers) -> Hashes:
    """Hashes of the separate stretches of each row, from its start on."""
    if rows.shape[1] < _STRETCH:
        return np.zeros((len(rows), 0), dtype=np.uint64)
    return np.stack([_rolling(row)[::_STRETCH] for row in rows])


def _starts(tokens: Tokens) -> Integers:
    """Where the documents begin."""
    lengths = itertools.accumulate((len(array) for array, _, _ in tokens.parts()), initial=0)
    return np.concatenate(
        [starts.astype(np.int64) + offset for (_, starts, _), offset in zip(tokens.parts(), lengths, strict=False)]
    )


def _leaked_documents(train: Tokens, valid: Tokens) -> npt.NDArray[np.bool_]:
    """Which documents of validation are, as a whole, in training; of longer ones only generated are compared."""
    longest = _longest_compared(train, valid)
    leaked = np.zeros(valid.documents, dtype=bool)
    for numbers, hashes in _document_hashes(valid, longest):
        for _, others in _document_hashes(train, longest):
            leaked[numbers] |= np.isin(hashes, others)
    return leaked


class _Index:
    """Every 33rd stretch of a validation text, by hash; of those that occur again, every passage around them.

    A stretch that many documents have, such as a common header, would otherwise be compared at each of its places in
    training with each of its places in validation.
    """

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        hashes, contexts, places = [], [], []
        for begin, padded in _chunks(tokens, outside=-1):
            rolling = _rolling(padded)
            chosen = np.arange(-begin % _STRIDE, len(padded) - _CONTEXT + 1, _STRIDE)
            hashes.append(rolling[chosen + _REACH])
            contexts.append(_joined(rolling, chosen) * _POWERS[_STRETCH] + rolling[chosen + WINDOW])
            places.append(chosen + begin)
        by_hash, by_context, place = map(np.concatenate, (hashes, contexts, places))
        order = np.lexsort((place, by_context, by_hash))
        by_hash, by_context, place = by_hash[order], by_context[order], place[order]
        again = by_hash[1:] == by_hash[:-1]
        # What is repeated with all that a passage can reach is looked at once: a run of one token has one entry.
        new = np.append(True, ~again | (by_context[1:] != by_context[:-1]))
        by_hash, place = by_hash[new], place[new]
        again = by_hash[1:] == by_hash[:-1]
        repeated = np.append(again, False) | np.append(False, again)
        self._hashes, self._places = by_hash[~repeated], place[~repeated]
        self._repeated = np.unique(by_hash[repeated])
        self._passages, self._passage_places = self._passages_around(np.sort(place[repeated]))
        bits = min(max(len(by_hash).bit_length() + 4, 16), 27)
        self._shift = np.uint64(64 - bits)
        self._known = np.zeros(1 << bits, dtype=bool)  # most training places are told apart by these bits alone
        self._known[by_hash >> self._shift] = True

    def passages(self, train: Tokens) -> list[tuple[int, int]]:
        """Where shared passages begin, in training and in validation: one for each separate stretch of training."""
        separate: list[tuple[int, int]] = []
        waiting: list[tuple[int, int]] = []
        last = -WINDOW - 1
        for begin, padded in _chunks(train, outside=-2):
            found = sorted([*waiting, *self._found(begin, padded)])
            end = begin + _CHUNK - _REACH if begin + _CHUNK < len(train) else len(train)
            ready = bisect.bisect_left(found, (end, 0))  # of later ones, the next portion may find earlier neighbours
            waiting = found[ready:]
            for pair in found[:ready]:
                if pair[0] > last + WINDOW:
                    separate.append(pair)
                last = pair[0]
        return separate

    def _found(self, begin: int, padded: Integers) -> Iterator[tuple[int, int]]:
        """Shared passages around the places of a portion."""
        rolling = _rolling(padded)
        hashes = rolling[_REACH : len(padded) - WINDOW + 1]
        chosen = np.flatnonzero(self._known[hashes >> self._shift])
        rows, entries = _lookup(self._hashes, hashes[chosen])
        for at in range(0, len(rows), _AT_ONCE):
            batch = slice(at, at + _AT_ONCE)
            yield from self._extended(padded, begin, chosen[rows[batch]], self._places[entries[batch]])
        rows, _ = _lookup(self._repeated, hashes[chosen])
        starts = _around(chosen[rows])
        rows, entries = _lookup(self._passages, _joined(rolling, starts))
        for at in range(0, len(rows), _AT_ONCE):
            batch = slice(at, at + _AT_ONCE)
            yield from self._compared(padded, begin, starts[rows[batch]], self._passage_places[entries[batch]])

    def _passages_around(self, places: Integers) -> tuple[Hashes, Integers]:
        """The different passages that hold the stretches at these places, by hash, and where each begins."""
        hashes, begins = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int64)]
        for begin, padded in _chunks(self._tokens, outside=-1) if len(places) else ():
            starts = _around(places[slice(*np.searchsorted(places, (begin, begin + _CHUNK)))] - begin)
            found, first = np.unique(_joined(_rolling(padded), starts), return_index=True)
            hashes.append(found)
            begins.append(starts[first] + begin - _REACH)
        different, first = np.unique(np.concatenate(hashes), return_index=True)
        return different, np.concatenate(begins)[first]

    def _extended(self, padded: Integers, begin: int, chosen: Integers, places: Integers) -> list[tuple[int, int]]:
        """Those of the pairs of equal stretches that lie in a shared passage: where it begins."""
        contexts = self._texts(places - _REACH, _CONTEXT)
        same = padded[chosen[:, None] + np.arange(_CONTEXT)] == contexts
        before = np.cumprod(same[:, _REACH - 1 :: -1], axis=1).sum(axis=1)
        after = np.cumprod(same[:, _REACH:], axis=1).sum(axis=1)
        shared = (after >= _STRETCH) & (before + after >= WINDOW)
        return list(zip((begin + chosen - before)[shared].tolist(), (places - before)[shared].tolist(), strict=True))

    def _compared(self, padded: Integers, begin: int, starts: Integers, places: Integers) -> list[tuple[int, int]]:
        """Those of the pairs of passages that are the same, token by token."""
        shared = (padded[starts[:, None] + np.arange(WINDOW)] == self._texts(places, WINDOW)).all(axis=1)
        return list(zip((begin - _REACH + starts)[shared].tolist(), places[shared].tolist(), strict=True))

    def _texts(self, places: Integers, length: int) -> Integers:
        unique, which = np.unique(places, return_inverse=True)
        texts: Integers = np.stack([_read_padded(self._tokens, place, length, -1) for place in unique.tolist()])[which]
        return texts


def _lookup(known: Hashes, hashes: Hashes) -> tuple[Integers, Integers]:
    """Which hashes are known, and where each of these is among the known ones, which are sorted and all different."""
    if not len(known):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    entries = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    rows = np.flatnonzero(known[entries] == hashes)
    return rows, entries[rows]


def _around(places: Integers) -> Integers:
    """Where in a portion, with its margin, the passages begin that hold the stretches at these of its places."""
    if not len(places):
        return places
    ends = np.zeros(int(places.max()) + _REACH + 2, dtype=np.int64)
    np.add.at(ends, places, 1)
    np.add.at(ends, places + _REACH + 1, -1)
    return np.flatnonzero(np.cumsum(ends))


def _joined(rolling: Hashes, places: Integers) -> Hashes:
    """Hash of the passage of two stretches at each of these places."""
    joined: Hashes = rolling[places] * _POWERS[_STRETCH] + rolling[places + _STRETCH]
    return joined


def _chunks(tokens: Tokens, outside: int) -> Iterator[tuple[int, Integers]]:
    """Places in portions: the first place, and tokens from `_REACH` before it to the last context's end."""
    for begin in range(0, len(tokens), _CHUNK):
        places = min(_CHUNK, len(tokens) - begin)
        yield begin, _read_padded(tokens, begin - _REACH, places + _CONTEXT - 1, outside)


def _read_padded(tokens: Tokens, start: int, length: int, outside: int) -> Integers:
    low, high = max(start, 0), min(start + length, len(tokens))
    if high - low == length:
        return tokens.read(low, length)
    return np.pad(tokens.read(low, high - low), (low - start, start + length - high), constant_values=outside)


def _mixed(tokens: Integers) -> Hashes:
    hashes = (tokens.astype(np.uint64) + np.uint64(1)) * _FACTOR
    return hashes ^ (hashes >> np.uint64(29))


def _rolling(tokens: Integers) -> Hashes:
    """Polynomial hash of the stretch at each place, doubled from one token to 32 in five passes."""
    hashes, size = _mixed(tokens), 1
    while size < _STRETCH:
        hashes = hashes[:-size] * _POWERS[size] + hashes[size:]
        size *= 2
    return hashes


def _shared_documents(train: Tokens, valid: Tokens) -> list[tuple[int, int]]:
    """Documents that both have, as numbers in training and validation."""
    longest = _longest_compared(train, valid)
    wanted: dict[int, int] = {}
    for numbers, hashes in _document_hashes(valid, longest):
        wanted |= zip(hashes.tolist(), numbers.tolist(), strict=True)
    keys = np.array(sorted(wanted), dtype=np.uint64)
    found: dict[int, int] = {}
    for numbers, hashes in _document_hashes(train, longest):
        shared = np.isin(hashes, keys)
        for number, digest in zip(numbers[shared].tolist(), hashes[shared].tolist(), strict=True):
            found.setdefault(digest, number)
    return sorted((number, wanted[digest]) for digest, number in found.items())


def _longest_compared(train: Tokens, valid: Tokens) -> int:
    """Tokens of the longest documents that are compared as wholes."""
    return _LONGEST if train.generated and valid.generated else WINDOW


def _document_hashes(tokens: Tokens, longest: int) -> Iterator[tuple[Integers, Hashes]]:
    """Numbers and hashes of the documents of at most so many tokens, array by array."""
    first = 0
    for array, starts, goes_on in tokens.parts():
        ends = np.append(starts[1:], len(array)).astype(np.int64)
        begins = starts.astype(np.int64)
        if len(begins):
            lengths = ends - begins
            kept = lengths <= longest
            kept[-1] &= not goes_on
            offsets = np.minimum(np.arange(begins[0], len(array)) - np.repeat(begins, lengths), _LONGEST)
            terms = _mixed(np.asarray(array[begins[0] :], dtype=np.int64)) * _POWERS[offsets]
            sums = np.add.reduceat(terms, begins - begins[0])
            numbers = first + np.flatnonzero(kept).astype(np.int64)
            yield numbers, np.bitwise_xor(sums[kept], lengths[kept].astype(np.uint64))
        first += len(begins)
