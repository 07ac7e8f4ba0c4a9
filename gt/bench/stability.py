"""B3: whether the loss falls over the first steps of training on real text."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gt.bench.record import Stability
from gt.subject import Subject
from gt.training.mini import BATCH_SIZE, CLIP, LENGTH
from gt.training.optim import make_optimizer, next_token_loss, train_step

HELD_OUT_WINDOWS = 64


def stability(subject: Subject, steps: int, lr: float) -> Stability:
    """Train a fresh fp32 model of the subject's kind (AdamW, batch 8, length 64) and compare the loss before and after.

    A single batch differs from the next by more than a model learns in a few steps. So the loss that counts is that
    on fixed held-out windows; the training losses of the first and the last step stand beside it.

    Args:
        subject: Gives the kind of model, the text, the seed and the device.
        steps: Steps of training; the run ends early at a loss or gradient norm that is not finite.
        lr: Learning rate.
    """
    model = subject.build()
    optimizer = make_optimizer(model, lr)
    batches = subject.train_tokens.random_windows(BATCH_SIZE, LENGTH, subject.seed)
    held_out = subject.valid_tokens.spaced_windows(HELD_OUT_WINDOWS, LENGTH + 1).to(subject.device).split(BATCH_SIZE)
    loss_start = _loss(model, held_out)
    losses: list[float] = []
    finite = 0
    for step in range(steps):
        loss, norm = train_step(model, optimizer, next(batches).to(subject.device), CLIP)
        losses.append(float(loss))
        subject.progress(step + 1, steps, f"loss {losses[-1]:.2f}")
        if not (math.isfinite(losses[-1]) and math.isfinite(float(norm))):
            break
        finite += 1
    return Stability(
        model=subject.plan.label,
        batch=BATCH_SIZE,
        length=LENGTH,
        lr=lr,
        steps=steps,
        finite_steps=finite,
        first_loss=losses[0],
        last_loss=losses[-1],
        loss_start=loss_start,
        loss_end=_loss(model, held_out),
        corpus=subject.corpus.name,
        corpus_sha256=subject.corpus.sha256,
    )


@torch.no_grad()
def _loss(model: nn.Module, batches: tuple[Tensor, ...]) -> float:
    total = sum(float(next_token_loss(model, batch)) * len(batch) for batch in batches)
    return total / sum(map(len, batches))
