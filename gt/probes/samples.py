"""Q1: what a model says by itself: samples, and how varied, repetitive and sure they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch import nn

from gt.measurement import Measurement, measured
from gt.probes.compare import finite_interval
from gt.probes.learning import window_losses
from gt.resources import fixtures_dir
from gt.session import Sampled, Sessions
from gt.tokenizers import Tokenizer

if TYPE_CHECKING:
    from gt.subject import Subject

TOKENS = 64
"""Tokens of a continuation."""

LENGTH, WINDOWS = 256, 32
"""Held-out text whose perplexity is measured."""

WAYS = {"greedy": 0.0, "sampled": 1.0}
"""Temperature of each way of decoding."""


class Prompts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `fixtures/prompts.yaml`."""

    prompts: tuple[str, ...]


class Sample(msgspec.Struct, frozen=True):
    """One continuation.

    Attributes:
        prompt: What was read.
        text: What the model said, up to an end of text.
        tokens: Tokens of that.
        entropy: Mean entropy in nats of what its tokens were drawn from, at temperature 1.
        repeated_4: Share of its groups of four tokens in a row that were there before.
    """

    prompt: str
    text: str
    tokens: int
    entropy: float
    repeated_4: float


class Generated(msgspec.Struct, frozen=True):
    """Continuations of some prompts, decoded in one way.

    Attributes:
        temperature: 0 for greedy.
        samples: One for each prompt.
        distinct_1: Share of different tokens among all that were generated (Li et al. 2016, NAACL: distinct-1).
        distinct_2: Share of different pairs among all pairs of neighbours.
    """

    temperature: float
    samples: tuple[Sample, ...]
    distinct_1: float
    distinct_2: float


@cache
def default_prompts() -> tuple[str, ...]:
    """Read `fixtures/prompts.yaml`."""
    return msgspec.yaml.decode((fixtures_dir() / "prompts.yaml").read_bytes(), type=Prompts).prompts


@torch.no_grad()
def samples(subject: Subject) -> tuple[Measurement, ...]:
    """Q1: held-out perplexity, and what is said after 16 prompts, greedily and sampled at temperature 1.

    64 tokens each, less where a text ends. Recorded: samples, distinct-1 and distinct-2, the share of repeated groups
    of four tokens (Holtzman et al. 2020, ICLR, on degenerate repetition), and the entropy of each choice.
    """
    losses: list[float] = []
    for batch_BT in subject.windows(WINDOWS, LENGTH + 1, apart=True).split(8):
        losses += window_losses(subject.model, batch_BT)
    loss, *interval = finite_interval(losses)
    low, high = map(_exp, interval)
    found = [measured("perplexity", _exp(loss), n=len(losses), ci95=(low, high))]
    if not math.isfinite(loss):
        return tuple(found)  # nothing can be drawn from what is no distribution
    for way, temperature in WAYS.items():
        said = generate(subject.model, subject.tokenizer, default_prompts(), temperature, subject.seed)
        told = [{"prompt": one.prompt, "text": one.text} for one in said.samples]
        found += [
            _mean(f"entropy_{way}", [one.entropy for one in said.samples], unit="nats", detail={"samples": told}),
            measured(f"distinct_1_{way}", said.distinct_1, n=len(told)),
            measured(f"distinct_2_{way}", said.distinct_2, n=len(told)),
            _mean(f"repeated_4_{way}", [one.repeated_4 for one in said.samples]),
        ]
        subject.progress(len(found) // 4, len(WAYS), "ways of decoding")
    return tuple(found)


def generate(
    model: nn.Module,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    temperature: float,
    seed: int,
) -> Generated:
    """Continue prompts by 64 tokens, and count what is in the continuations.

    Args:
        model: A model that streams.
        tokenizer: Its tokenizer.
        prompts: What to continue.
        temperature: 0 for greedy decoding.
        seed: Of the draws.
    """
    sessions = Sessions(model, tokenizer, len(prompts))
    sessions.feed(prompts)
    drawn = [_ended(one, tokenizer.end_of_text) for one in sessions.sample(TOKENS, temperature, seed)]
    found = tuple(
        Sample(
            prompt=prompt,
            text=tokenizer.decode(one.tokens),
            tokens=len(one.tokens),
            entropy=sum(one.entropies) / len(one.entropies),
            repeated_4=1 - distinct([one.tokens], 4),
        )
        for prompt, one in zip(prompts, drawn, strict=True)
    )
    rows = [one.tokens for one in drawn]
    return Generated(temperature, found, distinct(rows, 1), distinct(rows, 2))


def distinct(rows: Sequence[Sequence[int]], size: int) -> float:
    """Share of different groups of `size` tokens in a row among all such groups; 1 where there is none."""
    groups = [tuple(row[start : start + size]) for row in rows for start in range(len(row) - size + 1)]
    return len(set(groups)) / len(groups) if groups else 1.0


def _ended(drawn: Sampled, end: int | None) -> Sampled:
    """What was drawn before the end of text; the choice to end is one of the choices."""
    if end not in drawn.tokens:
        return drawn
    place = drawn.tokens.index(end)
    return Sampled(drawn.tokens[:place], drawn.entropies[: place + 1])


def _mean(metric: str, values: Sequence[float], **fields: Any) -> Measurement:
    mean, low, high = finite_interval(values)
    return measured(metric, mean, n=len(values), ci95=(low, high), **fields)


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
