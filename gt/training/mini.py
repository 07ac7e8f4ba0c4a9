"""The first steps of training of a fresh model: what G3 judges, and what stands in for a missing checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gt.cache import Result, remembered
from gt.training.adamw import PlainAdamW
from gt.training.optim import train_step

if TYPE_CHECKING:
    from gt.subject import Subject

# The recipe of every training inside a check, so that checks can be compared.
LR = 1e-3
CLIP = 1.0
BATCH_SIZE = 8
LENGTH = 64


@dataclass(frozen=True)
class MiniTraining:
    """A short training run.

    Attributes:
        losses: Loss of every step, in nats.
        norms: Global gradient norm before clipping, of every step.
        weights: State dict after the last step, on the CPU.
        cached: True if an earlier run computed it.
    """

    losses: list[float]
    norms: list[float]
    weights: dict[str, Tensor]
    cached: bool


def mini_training(subject: Subject) -> MiniTraining:
    """Train a fresh fp32 model of the subject's kind on its corpus (AdamW 1e-3, B8 T64), or read that from the cache.

    Stops at the first loss or norm that is not finite.
    """
    steps = subject.g3_steps

    def compute() -> Result:
        losses, norms, weights = _train(subject, steps)
        return {"losses": losses, "norms": norms}, weights

    (record, weights), cached = remembered(subject, "mini-training", compute, steps=steps)
    return MiniTraining(record["losses"], record["norms"], weights, cached)


@torch.enable_grad()  # it may be asked for from within a probe that needs no gradients itself
def _train(subject: Subject, steps: int) -> tuple[list[float], list[float], dict[str, Tensor]]:
    model = subject.build()
    optimizer = PlainAdamW(model, LR)
    batches = subject.train_tokens.random_windows(BATCH_SIZE, LENGTH, subject.seed)
    losses: list[float] = []
    norms: list[float] = []
    for step in range(steps):
        loss, norm = train_step(model, optimizer, next(batches).to(subject.device), CLIP)
        losses.append(float(loss))
        norms.append(float(norm))
        subject.progress(step + 1, steps, f"loss {losses[-1]:.2f}")
        if not (math.isfinite(losses[-1]) and math.isfinite(norms[-1])):
            break
    weights = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    return losses, norms, weights
