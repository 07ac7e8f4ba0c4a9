"""LRD: what is more context worth, does a longer one than claimed do harm, and what does a million tokens leave?"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from gt.measurement import Measurement, Unmeasurable, measured
from gt.session import MAX_ROWS, Sessions
from gt.stats import resampled_means

if TYPE_CHECKING:
    from gt.cache import Resumable
    from gt.subject import Subject

SHORT, LONG = 8, 128
"""Contexts that the benefit compares (checks.md, LRD)."""

BEYOND = 4
"""How many times the claimed context the longest one is."""

TARGETS = 64
"""Tokens scored in each block of validation text."""

GRAIN = 8
"""A target has at most the context that its row is called after, and less by at most one part in so many."""

FEWEST_BLOCKS = 8
KEEP_EVERY_S = 20.0

Losses = npt.NDArray[np.float64]


def dependency(subject: Subject) -> tuple[Measurement, ...]:
    """LRD: loss and perplexity of the same validation tokens after 8, 16, 32, ... tokens of their own context.

    Blocks of 64 target tokens lie at equal distances in the validation text, and every context length scores all of
    them: from a start without a state, the model reads what precedes a target, and nothing else. A context of C means
    at most C tokens and more than 7/8 of C. Intervals are bootstrapped over blocks, the same ones at every length.

    Raises:
        Unmeasurable: If four times the claimed context cannot be read, because the text is too short or the model has
            too few positions; with what shorter contexts came to, where the claimed one can be.
    """
    blocks, contexts, claimed, lacks = _layout(subject)
    total = sum(_tokens(context, len(blocks)) for context in contexts)
    losses: list[list[float]] = []
    done = 0
    for context in contexts:
        losses.append(_losses(subject, blocks, context, done, total))
        done += _tokens(context, len(blocks))
    by_block = np.array(losses).T  # [blocks, contexts]
    resampled = resampled_means(by_block.tolist(), subject.seed)
    means = by_block.mean(axis=0)
    at = {context: place for place, context in enumerate(contexts)}
    shorter = [place for context, place in at.items() if context < claimed]

    def estimate(metric: str, of: Any, **fields: Any) -> Measurement:
        return measured(metric, float(of(means[None])[0]), n=len(blocks), ci95=_interval(of(resampled)), **fields)

    curve = [
        {"context": context, "loss": _plain(means[place]), "ppl": _plain(_ppl(means[place])),
         "ci95": _interval(resampled[:, place]), "n": len(blocks) * TARGETS}
        for context, place in at.items()
    ]  # fmt: skip
    by_context = ", ".join(f"{context}: {_ppl(means[at[context]]):.1f}" for context in (SHORT, LONG, contexts[-1]))
    found = [
        estimate(
            "context_benefit",
            lambda rows: 1 - rows[:, at[LONG]] / rows[:, at[SHORT]],
            note=f"PPL at {by_context} tokens",
            detail={"curve": curve, "claimed": claimed},
        ),
        estimate(
            "context_harm",
            lambda rows: np.exp(rows[:, at[claimed]] - rows[:, shorter].min(axis=1)),
            note=f"claimed {claimed} tokens",
        ),
        measured("loss", means[at[claimed]], unit="nats", n=len(blocks), ci95=_interval(resampled[:, at[claimed]])),
    ]
    if lacks:
        raise Unmeasurable(lacks, found)
    degradation = estimate(
        "degradation",
        lambda rows: np.exp(rows[:, at[BEYOND * claimed]] - rows[:, at[claimed]]),
        note=f"{BEYOND * claimed:,} against {claimed:,} tokens",
    )
    return (*found, degradation)


def long_stream(subject: Subject) -> tuple[Measurement, ...]:
    """LRD-1M: one stream of text without an end, and at 1, 4, 16, ... times the claimed context what it has left.

    There the state is forked, and continued with blocks of validation text: the claimed context of each, which is not
    scored, then its 64 targets. Worse than from a fresh start, on the same tokens, is what the stream has done. The
    stream is the training text, over and over. Memory does not grow with its length; a run that is cut short goes on
    where it was.
    """
    claimed, length = subject.claimed_context, subject.size("stream_tokens")
    blocks = _blocks(subject, claimed)
    contexts = [[*_tokens_of(subject, start - claimed, start)] for start in blocks]
    targets = [[*_tokens_of(subject, start, start + TARGETS)] for start in blocks]
    ends = [claimed]
    while ends[-1] * 4 < length:
        ends.append(ends[-1] * 4)
    ends.append(length)

    def after(stream: Sessions | None) -> list[float]:
        losses: list[float] = []
        for first in range(0, len(blocks), MAX_ROWS):
            rows = range(first, min(first + MAX_ROWS, len(blocks)))
            sessions = Sessions(subject.model, subject.tokenizer, len(rows))
            if stream is not None:
                sessions = stream.take([0] * len(rows))
            sessions.feed_tokens([contexts[row] for row in rows])
            losses += [-gain / TARGETS for gain in sessions.score_tokens([targets[row] for row in rows])]
        return losses

    entry = subject.resumable("long-stream", length=length, claimed=claimed, blocks=blocks)
    with entry.lock():
        losses = _streamed(subject, entry, ends, after)
    fresh, *later = (np.array(losses[key]) for key in ("0", *map(str, ends)))
    rises = [(end, one - fresh) for end, one in zip(ends, later, strict=True)]
    # NaN is the worst of all.
    worst, rise = max(rises, key=lambda pair: (math.isnan(pair[1].mean()), pair[1].mean()))
    spread = resampled_means([[value] for value in rise], subject.seed)[:, 0]
    points = [
        {"read": end, "ppl_ratio": _plain(np.exp(one.mean())), "loss": _plain((fresh + one).mean())}
        for end, one in rises
    ]
    found = measured(
        "stream_degradation",
        float(np.exp(rise.mean())),
        n=len(blocks),
        ci95=_interval(np.exp(spread)),
        note=f"after {worst:,} of {length:,} tokens; PPL from a fresh start {_ppl(fresh.mean()):.1f}",
        detail={"points": points},
    )
    return (msgspec.structs.replace(found, cached=entry.cached),)


def _streamed(subject: Subject, entry: Resumable, ends: Sequence[int], after: Any) -> dict[str, list[float]]:
    """Losses of the blocks by tokens of the stream read before them, JSON keys."""
    stream = Sessions(subject.model, subject.tokenizer, 1)
    text = subject.train_tokens.tokens
    losses: dict[str, list[float]] = {}
    read = 0
    found = entry.read()
    if found is not None:
        record, tensors = found
        losses, read = record["losses"], record["read"]
        if tensors:
            stream.restore(tensors)
    begun, kept = read, time.monotonic()
    if not losses:
        losses["0"] = after(None)
    for end in ends:
        while read < end:
            place = read % len(text)
            stretch = text[place : place + min(end - read, 8192)].tolist()
            stream.feed_tokens([stretch])
            read += len(stretch)
            subject.progress(read - begun, ends[-1] - begun, "tokens of the stream")
            if read < end and time.monotonic() - kept > KEEP_EVERY_S:
                _keep(entry, losses, read, stream)
                kept = time.monotonic()
        if str(end) not in losses:
            losses[str(end)] = after(stream)
            _keep(entry, losses, read, stream)
    return losses


def _keep(entry: Resumable, losses: dict[str, list[float]], read: int, stream: Sessions) -> None:
    # JSON has no NaN, and what is not finite does not mend.
    if all(map(math.isfinite, (loss for own in losses.values() for loss in own))):
        entry.write({"losses": losses, "read": read}, stream.save())


def _layout(subject: Subject) -> tuple[list[int], list[int], int, str]:
    """Where target blocks begin, the context lengths, the claimed one, and what is too short for the longest."""
    claimed = subject.claimed_context
    contexts = [SHORT]
    while contexts[-1] < BEYOND * claimed:
        contexts.append(contexts[-1] * 2)
    needed, least = contexts[-1], max(claimed, LONG)
    tokens, positions = len(subject.valid_tokens), subject.longest_text
    room = tokens - FEWEST_BLOCKS * TARGETS
    lacks = []
    if positions is not None and positions < needed:
        lacks.append(f"the model has {positions:,} positions, needed are {needed:,}")
    if room < needed:
        lacks.append(
            f"the validation text has {tokens:,} tokens, needed are {needed + tokens - room:,}: give more text"
        )
    contexts = [context for context in contexts if context <= min(room, needed if positions is None else positions)]
    told = f"{BEYOND} times the claimed context of {claimed:,} tokens cannot be read: {' and '.join(lacks)}"
    if not contexts or contexts[-1] < least:
        raise Unmeasurable(told)
    return _blocks(subject, contexts[-1]), contexts, claimed, told if lacks else ""


def _blocks(subject: Subject, context: int) -> list[int]:
    """Where blocks of targets begin that lie apart and have so much text before them."""
    room = len(subject.valid_tokens) - context
    count = min(subject.size("lrd_blocks"), room // TARGETS)
    if count < FEWEST_BLOCKS:
        raise Unmeasurable(
            f"the validation text has {len(subject.valid_tokens):,} tokens, needed are "
            f"{context + FEWEST_BLOCKS * TARGETS:,}: give more text"
        )
    return [context + round(place * (room - TARGETS) / (count - 1)) for place in range(count)]


def _grain(context: int) -> int:
    """Targets that are scored in a row, so that none has 1/8 less context than the last."""
    return max(1, min(TARGETS, context // GRAIN))


def _tokens(context: int, blocks: int) -> int:
    """Tokens read for one context length."""
    return blocks * TARGETS // _grain(context) * context


def _tokens_of(subject: Subject, start: int, end: int) -> list[int]:
    ids: list[int] = subject.valid_tokens.tokens[start:end].tolist()
    return ids


def _losses(subject: Subject, blocks: Sequence[int], context: int, done: int, total: int) -> list[float]:
    """Mean loss of every block's targets after a context of one length."""
    grain = _grain(context)
    starts = [start + offset for start in blocks for offset in range(0, TARGETS, grain)]
    gains: list[float] = []
    for first in range(0, len(starts), MAX_ROWS):
        chosen = starts[first : first + MAX_ROWS]
        sessions = Sessions(subject.model, subject.tokenizer, len(chosen))
        # The last target of a row has `context` tokens before it, the first one `grain - 1` fewer.
        sessions.feed_tokens([_tokens_of(subject, start + grain - 1 - context, start) for start in chosen])
        gains += sessions.score_tokens([_tokens_of(subject, start, start + grain) for start in chosen])
        subject.progress(done + len(gains) * context, total, f"tokens, contexts of {context:,}")
    rows = TARGETS // grain
    return [-sum(gains[row : row + rows]) / TARGETS for row in range(0, len(gains), rows)]


def _ppl(loss: Any) -> float:
    return float(np.exp(loss))


def _plain(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def _interval(values: Losses) -> tuple[float, float] | None:
    if not np.isfinite(values).all():
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
