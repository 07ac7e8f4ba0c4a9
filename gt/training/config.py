"""What a training run is. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True, slots=True)
class TrainConfig:
    """Settings of a training run.

    Attributes:
        model: Model to train, `VARIANT[@SCALE]`.
        corpus: Text files to train on (UTF-8, may be .gz or .xz; a line <|endoftext|> separates documents).
        valid: Text files to validate on; by default a tenth of the training documents is held out.
        out: Folder of the checkpoint.
        tokenizer: A tokenizer.json; by default one is trained on the corpus.
        vocab_size: Size of the tokenizer that is trained.
        steps: Optimiser steps.
        batch_size: Sequences per step.
        length: Tokens per sequence.
        lr: Peak learning rate.
        final_lr_ratio: Learning rate at the end of the cosine, as a share of the peak.
        warmup_ratio: Share of the steps in which the learning rate rises linearly.
        weight_decay: Of matrices; vectors are not decayed.
        clip: Largest global gradient norm.
        seed: Of the initialisation and of the data order.
        device: "auto", "cpu" or "cuda".
        log_every: Steps between two lines of the log.
        eval_every: Steps between two validations.
    """

    model: str = "GF-MH"
    corpus: tuple[str, ...] = ()
    valid: tuple[str, ...] = ()
    out: str = "runs/checkpoint"
    tokenizer: str | None = None
    vocab_size: int = 8192
    steps: int = 1000
    batch_size: int = 16
    length: int = 256
    lr: float = 2e-3
    final_lr_ratio: float = 0.1
    warmup_ratio: float = 0.1
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 0
    device: str = "auto"
    log_every: int = 20
    eval_every: int = 200
