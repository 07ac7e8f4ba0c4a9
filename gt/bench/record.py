"""What a benchmark run found: the types behind its JSON, schema `groundthink.bench/1`. Imports no torch."""

from __future__ import annotations

from typing import Any

import msgspec

SCHEMA = "groundthink.bench/1"


class Quartiles(msgspec.Struct, frozen=True, kw_only=True):
    """Median and quartiles of repeated timings.

    Attributes:
        median: The figure.
        q1: First quartile.
        q3: Third quartile.
        repeats: Timings behind it.
        calls: Calls in each timing.
    """

    median: float
    q1: float
    q3: float
    repeats: int
    calls: int


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """Predicted memory of a training step, in bytes (`gt.bench.memory.predict`).

    Attributes:
        parameters: The weights.
        gradients: One number for each parameter.
        moments: AdamW's two numbers for each parameter.
        activations: What the forward pass keeps for the backward pass, without the loss.
        logits: One array of logits; up to three of that size exist at a time.
        peak: Most that exists at one time.
    """

    parameters: int
    gradients: int
    moments: int
    activations: int
    logits: int
    peak: int


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """B2 of one model in one cell of the table.

    Attributes:
        predicted: None where no formula covers the kind of model.
        measured: Peak growth in bytes over three training steps; None where it was not measured.
        method: What was read to measure it.
        reason: Why there is no measurement.
    """

    predicted: Prediction | None
    measured: int | None = None
    method: str = ""
    reason: str = ""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Time of one part of the model in a training step: median milliseconds, and its share of the sum of all parts."""

    name: str
    share: float
    ms: float


class Cell(msgspec.Struct, kw_only=True):
    """One model at one batch size and length.

    Attributes:
        model: Name of the model.
        batch: Sequences.
        length: Tokens per sequence.
        memory: B2.
        training: Training tokens per second: forward, backward, clipping and AdamW.
        forward: Tokens per second of the forward pass alone, without gradients.
        parts: Where the time of a training step goes, largest first.
        reason: Why there are no timings.
    """

    model: str
    batch: int
    length: int
    memory: Memory | None = None
    training: Quartiles | None = None
    forward: Quartiles | None = None
    parts: tuple[Part, ...] = ()
    reason: str = ""


class Decoding(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens per second (of all sequences together) of greedy decoding, one token a call from a carried state."""

    model: str
    batch: int
    speed: Quartiles | None = None
    reason: str = ""


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """Speed of a model relative to the first one; each repeat of the one is set against its neighbour of the other.

    Attributes:
        what: "training", "forward" or "decoding".
        model: The model.
        against: The first model of the run.
        batch: Sequences.
        length: Tokens per sequence; 1 in decoding.
        ratio: Tokens per second of `model` divided by those of `against`.
    """

    what: str
    model: str
    against: str
    batch: int
    length: int
    ratio: Quartiles


class Stability(msgspec.Struct, frozen=True, kw_only=True):
    """B3 of one model: real steps on real text.

    Attributes:
        model: Name of the model.
        batch: Sequences per step.
        length: Tokens per sequence.
        lr: Learning rate of AdamW.
        steps: Steps that were asked for.
        finite_steps: Steps whose loss and gradient norm were finite; the run ends with the first that is not.
        first_loss: Training loss of the first step, in nats.
        last_loss: Training loss of the last step.
        loss_start: Loss on fixed held-out windows before the first step.
        loss_end: The same after the last step.
        corpus: The text.
        corpus_sha256: Its hash.
    """

    model: str
    batch: int
    length: int
    lr: float
    steps: int
    finite_steps: int
    first_loss: float
    last_loss: float
    loss_start: float
    loss_end: float
    corpus: str
    corpus_sha256: str


class BenchRecord(msgspec.Struct, kw_only=True):
    """A whole run.

    Attributes:
        created: When it began (UTC, ISO 8601).
        settings: The settings.
        environment: Machine, versions, threads, load; `note` says where other processes kept it busy.
        models: Name, parameters, device, dtype and kernel backends of each model.
        cells: Each model in each cell of the table.
        decoding: Token-by-token decoding.
        ratios: Every model but the first against the first.
        stability: B3.
        untrained: Models that B3 could not train, with the reason.
        schema: Name of the format.
    """

    created: str
    settings: dict[str, Any]
    environment: dict[str, Any] = {}
    models: list[dict[str, Any]] = []
    cells: list[Cell] = []
    decoding: list[Decoding] = []
    ratios: list[Ratio] = []
    stability: list[Stability] = []
    untrained: dict[str, str] = {}
    schema: str = SCHEMA
