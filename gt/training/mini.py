"""The first steps of training of a fresh model: what G3 judges, and what stands in for a missing checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gt.cache import Result, remembered
from gt.registry import ModelSpec
from gt.training.adamw import PlainAdamW
from gt.training.optim import captured_step, train_step

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


def check_step(
    subject: Subject, model: nn.Module, optimizer: PlainAdamW, example_BT: Tensor
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """`train_step` of a fresh model as checks take it; on a GPU recorded once and replayed.

    A step of these sizes is some 1,800 kernels, which take a twentieth of the time that launching them takes. What
    may do more than a graph can hold is called every time: a user's own model, and a fault that acts on some calls.

    Args:
        subject: Its kind of model is trained.
        model: The model, on the subject's device.
        optimizer: Not yet used.
        example_BT: A batch of the shape of all that follow; it is not trained on.

    Returns:
        From a batch to its loss and its gradient norm before clipping, which the next call may overwrite.
    """
    if (
        subject.device.type == "cuda"
        and isinstance(subject.plan.spec, ModelSpec)
        and subject.plan.request.sabotage is None
    ):
        return captured_step(model, optimizer, example_BT, CLIP)
    return lambda tokens_BT: train_step(model, optimizer, tokens_BT, CLIP)


@torch.enable_grad()  # it may be asked for from within a probe that needs no gradients itself
def _train(subject: Subject, steps: int) -> tuple[list[float], list[float], dict[str, Tensor]]:
    model = subject.build()
    batches = subject.train_tokens.random_windows(BATCH_SIZE, LENGTH, subject.seed)
    example_BT = torch.zeros(BATCH_SIZE, LENGTH + 1, dtype=torch.long, device=subject.device)
    step = check_step(subject, model, PlainAdamW(model, LR), example_BT)
    losses: list[float] = []
    norms: list[float] = []
    for number in range(1, steps + 1):
        loss, norm = step(next(batches).to(subject.device))
        losses.append(float(loss))
        norms.append(float(norm))
        subject.progress(number, steps, f"loss {losses[-1]:.2f}")
        if not (math.isfinite(losses[-1]) and math.isfinite(norms[-1])):
            break
    weights = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    return losses, norms, weights
