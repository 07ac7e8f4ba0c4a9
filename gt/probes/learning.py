"""G3, L1 and L2: does a fresh model learn, also by heart, and does the trained one know more than word counts?"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gt import registry
from gt.cache import remembered
from gt.measurement import Measurement, measured
from gt.probes.compare import Interval, finite_interval
from gt.training.adamw import PlainAdamW
from gt.training.mini import LENGTH, LR, check_step

if TYPE_CHECKING:
    from gt.subject import Subject

VALID_WINDOWS, VALID_LENGTH = 32, 257

SAMPLES, MOST_STEPS = 10, 500
"""L1: what is learned by heart, and for how long (checks.md [S])."""


def mini_training(subject: Subject) -> tuple[Measurement, ...]:
    """G3: the fall of the loss from the first to the last tenth of a short training, its gradient norm then, its peak.

    The peak is the highest median of three successive losses over the first loss, when nothing was learned yet: steps
    that are too large show there, even where a loss that shot up comes down again. One batch of odd text does not: the
    loss of a sound GPT2@8M was 1.16 of the first for a single step, 0.81 before and 0.80 after it.

    The intervals are those of means over the steps of the last tenth; the first tenth, which falls, counts as it was.
    """
    run = subject.mini_training
    tenth = max(1, subject.g3_steps // 10)
    complete = len(run.losses) == subject.g3_steps and math.isfinite(run.losses[-1] + run.norms[-1])
    first, last = (sum(part) / len(part) for part in (run.losses[:tenth], run.losses[-tenth:]))
    norm, *norm_ends = _of_steps(run.norms[-tenth:])
    _, *loss_ends = _of_steps(run.losses[-tenth:])
    peak = max(map(statistics.median, _windows(run.losses, 3))) / run.losses[0]
    note = f"{first:.2f} -> {last:.2f} nats in {len(run.losses)} steps"
    if not complete:
        first = last = norm = peak = math.nan
        note = f"not finite at step {len(run.losses)}"
    losses = [round(loss, 4) for loss in run.losses if math.isfinite(loss)]
    found = (
        measured(
            "loss_fall",
            1 - last / first,
            n=len(run.losses),
            ci95=(1 - loss_ends[1] / first, 1 - loss_ends[0] / first),
            note=note,
            detail={"losses": losses},
        ),
        measured(
            "grad_norm",
            norm,
            n=tenth,
            ci95=(norm_ends[0], norm_ends[1]),
            note="mean over the last tenth, before clipping",
        ),
        measured("loss_peak", peak, n=len(run.losses), note="highest median of three losses over the first"),
    )
    return tuple(msgspec.structs.replace(m, cached=run.cached) for m in found)


def _windows(values: list[float], width: int) -> list[list[float]]:
    """Every `width` successive values; all of them where there are fewer."""
    return [values[start : start + width] for start in range(max(1, len(values) - width + 1))]


def _of_steps(values: list[float]) -> Interval:
    return finite_interval(values) if len(values) > 1 else (values[0], math.nan, math.nan)


def overfit(subject: Subject) -> tuple[Measurement, ...]:
    """L1: loss of a fresh model on 10 samples of 64 tokens after at most 500 steps on them; mean over the samples.

    Stops when the loss of a step is `learned_by_heart` of scales.yaml or less. AdamW 1e-3, all samples in every step,
    so that what is missed is capacity or gradient and not luck.
    """
    learned = registry.limit("learned_by_heart")
    (record, _), cached = remembered(
        subject, "overfit", lambda: (_learn_by_heart(subject, learned), {}), learned=learned
    )
    value, low, high = finite_interval(record["final"])
    note = f"{record['losses'][0]:.2f} nats at first, {len(record['losses'])} steps"
    losses = [round(loss, 4) for loss in record["losses"] if math.isfinite(loss)]
    found = (
        measured("final_loss", value, unit="nats", n=SAMPLES, ci95=(low, high), note=note, detail={"losses": losses}),
        measured("steps", len(record["losses"])),
    )
    return tuple(msgspec.structs.replace(one, cached=cached) for one in found)


@torch.enable_grad()
def _learn_by_heart(subject: Subject, learned: float) -> dict[str, list[float]]:
    """Loss of every step, and of every sample at the end."""
    model = subject.build()
    samples_BT = subject.train_tokens.spaced_windows(SAMPLES, LENGTH + 1).to(subject.device)
    step = check_step(subject, model, PlainAdamW(model, LR), samples_BT)
    losses: list[float] = []
    while len(losses) < MOST_STEPS and not (losses and (losses[-1] <= learned or not math.isfinite(losses[-1]))):
        loss, _ = step(samples_BT)
        losses.append(float(loss))
        subject.progress(len(losses), MOST_STEPS, f"loss {losses[-1]:.2f}")
    with torch.no_grad():
        return {"losses": losses, "final": window_losses(model, samples_BT)}


def window_losses(model: nn.Module, windows_BT: Tensor) -> list[float]:
    """Mean loss of each window, in nats."""
    logits = model(windows_BT[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1).float(), windows_BT[:, 1:].flatten(), reduction="none")
    losses: list[float] = loss.view(len(windows_BT), -1).mean(1).tolist()
    return losses


@torch.no_grad()
def naive_baseline(subject: Subject) -> tuple[Measurement, ...]:
    """L2: by how much the validation loss is below the best of three models that do not read.

    Uniform; unigram (add-one counts of the training text); most common token (its training frequency, the rest
    uniform). All are scored on the same validation tokens. Source: checks.md L2 [S].
    """
    model = subject.trained_model
    windows = subject.windows(VALID_WINDOWS, VALID_LENGTH, apart=True)
    targets = windows[:, 1:]
    losses: list[float] = []
    for batch in windows.split(8):
        losses += window_losses(model, batch)
        subject.progress(len(losses), len(windows), "validation loss")
    loss_mean, low, high = finite_interval(losses)
    baselines = _baselines(subject.train_tokens.tokens, targets.cpu(), subject.vocab_size)
    best = min(baselines, key=baselines.__getitem__)
    reduction = 1 - loss_mean / baselines[best]
    note = f"loss {loss_mean:.2f}, {best} {baselines[best]:.2f} nats"
    return (
        measured(
            "loss_reduction",
            reduction,
            n=len(windows),
            ci95=(1 - high / baselines[best], 1 - low / baselines[best]),
            note="; ".join(filter(None, (note, subject.trained_note))),
            detail={"baselines": baselines},
        ),
        measured(
            "valid_loss",
            loss_mean,
            unit="nats",
            n=len(windows),
            ci95=(low, high),
        ),
    )


def _baselines(train: Tensor, targets: Tensor, vocab_size: int) -> dict[str, float]:
    counts = torch.bincount(train, minlength=vocab_size).double()
    unigram = (counts + 1).log() - (counts.sum() + vocab_size).log()
    most_common = int(counts.argmax())
    frequency = float(counts[most_common] / counts.sum())
    constant = torch.full((vocab_size,), math.log((1 - frequency) / (vocab_size - 1)), dtype=torch.float64)
    constant[most_common] = math.log(frequency)
    return {
        "uniform": math.log(vocab_size),
        "unigram": float(-unigram[targets].mean()),
        "most common token": float(-constant[targets].mean()),
    }
