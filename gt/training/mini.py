"""The first steps of training of a fresh model: what G3 judges, and what stands in for a missing checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gt.cache import Entry
from gt.kernels import resolve
from gt.training.optim import make_optimizer, train_step

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
    request = subject.plan.request
    steps = subject.g3_steps
    entry = Entry(
        "mini-training",
        {
            "model": subject.identity,
            "sabotage": request.sabotage,
            "seed": subject.seed,
            "steps": steps,
            "corpus": subject.corpus.sha256,
            "tokenizer": subject.tokenizer.sha256,
            "kernels": {op: resolve(op, subject.device.type).backend.name for op in subject.ops},
            "environment": subject.environment(),
        },
    )
    with entry.lock():
        found = entry.read()
        # With --gt-fresh only what this very run computed (in another process) is taken.
        if found is not None and (not request.fresh or found[0]["run_id"] == request.run_id):
            record, weights = found
            return MiniTraining(record["losses"], record["norms"], weights, record["run_id"] != request.run_id)
        result = _train(subject, steps)
        # JSON has no NaN, and a run that broke off is quick to repeat.
        if all(map(math.isfinite, result.losses + result.norms)):
            record = {"run_id": request.run_id, "losses": result.losses, "norms": result.norms}
            entry.write(record, result.weights)
    return result


@torch.enable_grad()  # it may be asked for from within a probe that needs no gradients itself
def _train(subject: Subject, steps: int) -> MiniTraining:
    model = subject.build()
    optimizer = make_optimizer(model, LR)
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
    return MiniTraining(losses, norms, weights, cached=False)
