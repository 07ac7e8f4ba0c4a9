"""L3-L5: does a run survive being saved, was the checkpoint's own run smooth, and is it as good as a GPT-2?"""

from __future__ import annotations

import math
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gt.baseline import find_baseline
from gt.cache import remembered
from gt.checkpoint import WEIGHTS, load_into, load_tensors, load_weights, read_training, save_checkpoint
from gt.fixed_text import fixed_text_losses
from gt.kernels import resolve
from gt.measurement import Measurement, Unmeasurable, measured
from gt.models.build import build_model
from gt.models.config import ModelConfig
from gt.probes.compare import finite_interval, worst
from gt.probes.learning import VALID_LENGTH, VALID_WINDOWS, window_losses
from gt.registry import ModelSpec
from gt.training import history, resume
from gt.training.config import TrainConfig
from gt.training.machine import repeatable
from gt.training.mini import BATCH_SIZE, CLIP, LENGTH, LR
from gt.training.step import Step
from gt.training.stream import StreamBatches

if TYPE_CHECKING:
    from gt.checkpoint import CheckpointInfo
    from gt.subject import Subject

RESUMED_STEPS = 8
AVERAGED_LINES = 10
LEAST_LINES = 3
PROGRESS = 0.005
"""L4: a plateau lasts while the moving average stays above this share below its best."""


def resuming(subject: Subject) -> tuple[Measurement, ...]:
    """L3: largest difference between what is saved and what is read back, and between a run and the same run resumed.

    The run: 8 steps of a fresh model, and 4 steps, its state saved and read by a new model, and 4 more; compared are
    the losses of all steps and the logits at the end. The checkpoint: the model under test is saved as checkpoints are
    (bf16) and read back; compared are its logits with those of its weights rounded in memory.

    Where training has recorded the checkpoint's losses on a fixed text, token by token, also the root mean square of
    their differences from the model's own: what was saved then is what is judged now.

    On a GPU both runs add in a fixed order (`repeatable`): in 8 steps rounding alone makes a difference above 1e-5.
    """
    (record, _), cached = remembered(subject, "resuming", lambda: (_differences(subject), {}), steps=RESUMED_STEPS)
    where, difference = worst(record["differences"])
    found = measured(
        "max_difference", difference, n=len(record["differences"]), note=where, detail={"losses": record["losses"]}
    )
    return (msgspec.structs.replace(found, cached=cached), *_known_again(subject))


def _known_again(subject: Subject) -> tuple[Measurement, ...]:
    info = subject.plan.checkpoint
    recorded = _training(info).get("fixed_text_losses")
    if not recorded:
        return ()
    losses = fixed_text_losses(subject.model_fp32, subject.tokenizer)
    difference = math.sqrt(statistics.fmean((a - b) ** 2 for a, b in zip(losses, recorded, strict=True)))
    note = f"mean {statistics.fmean(losses):.4f} nats, {statistics.fmean(recorded):.4f} when it was saved"
    return (measured("recorded_loss_error", difference, unit="nats", n=len(losses), note=note),)


def _training(info: CheckpointInfo | None) -> dict[str, Any]:
    """Settings and outcome of the run behind a checkpoint folder; empty where nothing is known of it."""
    return read_training(info.path) if info is not None and info.config is not None and info.path.is_dir() else {}


@torch.enable_grad()
def _differences(subject: Subject) -> dict[str, Any]:
    """Losses of the run, and largest absolute difference of everything that is compared."""
    config = TrainConfig(
        model=subject.plan.spec.name,
        steps=RESUMED_STEPS,
        batch_size=BATCH_SIZE,
        length=LENGTH,
        lr=LR,
        clip=CLIP,
        graph=False,
        seed=subject.seed,
    )
    batches = StreamBatches(subject.train_tokens, BATCH_SIZE, LENGTH, subject.seed)
    half = RESUMED_STEPS // 2

    def advance(step: Step, first: int, last: int) -> list[float]:
        losses = []
        for number in range(first, last):
            losses.append(float(step(batches.batch(number), number)[0]))
            subject.progress(number + 1, RESUMED_STEPS, f"loss {losses[-1]:.2f}")
        return losses

    devices = [subject.device] if subject.device.type == "cuda" else []
    for op in subject.ops:
        resolve(op, subject.device.type)  # mamba-ssm has other launch parameters where it is loaded as `repeatable`
    with (
        repeatable(subject.device),
        torch.random.fork_rng(devices=devices),
        tempfile.TemporaryDirectory() as name,
    ):
        torch.manual_seed(subject.seed)
        whole = subject.build()
        losses = advance(Step(whole, config, subject.device), 0, RESUMED_STEPS)
        torch.manual_seed(subject.seed)
        stopped = subject.build()
        step = Step(stopped, config, subject.device)
        again = advance(step, 0, half)
        resume.save_state(Path(name), stopped, step, {}, {})
        torch.manual_seed(subject.seed + 1)  # a process that resumes has drawn other numbers
        resumed = subject.build()
        step = Step(resumed, config, subject.device)
        resume.load_state(Path(name), resumed, step)
        again += advance(step, half, RESUMED_STEPS)
        differences = {
            f"loss of step {number}": abs(a - b)
            for number, (a, b) in enumerate(zip(losses, again, strict=True), start=1)
        }
        tokens_BT = subject.windows(2, 128)
        differences["logits of the resumed run"] = _largest_difference(whole, resumed, tokens_BT)
        differences["logits of the checkpoint"] = _largest_difference(*_saved_and_read(subject, Path(name)), tokens_BT)
    return {"losses": losses, "differences": differences}


def _saved_and_read(subject: Subject, folder: Path) -> tuple[nn.Module, nn.Module]:
    """The model under test with its weights as they are saved, and what is read back."""
    model = subject.model_fp32
    weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    saved = weights
    if isinstance(subject.plan.config, ModelConfig):
        shutil.copy(subject.plan.tokenizer, folder / "tokenizer.json")
        save_checkpoint(folder, model, step=0, tokens=0, training={})
        saved = {name: tensor.bfloat16().float() for name, tensor in weights.items()}
    else:
        save_file({name: tensor.clone() for name, tensor in weights.items()}, folder / WEIGHTS)
    if any(not torch.equal(saved[name], tensor) for name, tensor in weights.items()):
        model = subject.build()
        model.load_state_dict(saved)
    read = subject.build()
    load_into(read, load_tensors(folder / WEIGHTS), subject.plan.spec.name, None)
    return model, read


@torch.no_grad()
def _largest_difference(one: nn.Module, other: nn.Module, tokens_BT: Tensor) -> float:
    return float((one(tokens_BT).double() - other(tokens_BT).double()).abs().max())


def training_log(subject: Subject) -> tuple[Measurement, ...]:
    """L4: the highest loss in the checkpoint's log as a multiple of the mean of up to 10 lines before it.

    A loss is that of a line's step, or the highest since the line before where the log has it. A loss that is not
    finite makes the result not finite.

    Recorded: steps, and the longest plateau as a share of them: the moving average of 10 lines does not improve on its
    best by 0.5%. Where the scale asks for a length of training, the share of it that the log covers. Where it was
    recorded, the share of the run's validation text that occurs in what it was trained on.

    Raises:
        Unmeasurable: If there is no log, or it cannot be read.
    """
    info = subject.plan.checkpoint
    if info is None or info.train_log is None:
        raise Unmeasurable("there is no training log beside the weights")
    try:
        lines = history.read_log(info.train_log)
    except (OSError, ValueError) as error:
        raise Unmeasurable(str(error)) from error
    if len(lines) < LEAST_LINES:
        raise Unmeasurable(f"{info.train_log} has {len(lines)} lines with a loss, needed are {LEAST_LINES}")
    means = [_loss(line, "loss_mean" if "loss_mean" in line else "loss") for line in lines]
    peaks = [worst({key: _loss(line, key) for key in ("loss", "loss_max") if key in line})[1] for line in lines]
    averages = [statistics.fmean(means[max(0, end - AVERAGED_LINES) : end]) for end in range(1, len(lines) + 1)]
    steps: list[int] = [line["step"] for line in lines]
    spikes = {str(steps[i]): peaks[i] / averages[i - 1] for i in range(1, len(lines))}
    at, spike = worst(spikes)
    highest = sorted(spikes.items(), key=lambda entry: -entry[1])[:5]
    found = [
        measured(
            "worst_spike",
            spike,
            n=len(lines),
            note=f"step {at}, {len(lines)} lines over {steps[-1]:,} steps",
            detail={"highest": {step: ratio for step, ratio in highest if math.isfinite(ratio)}},
        ),
        measured("steps", steps[-1]),
        measured("longest_plateau", _longest_plateau(steps, averages), n=len(lines)),
    ]
    leaked = _training(info).get("leaked_share")
    if leaked is not None:
        found.append(measured("leaked_share", leaked))
    needed = subject.size("l4_steps")
    if needed:
        found.insert(1, measured("covered_steps", steps[-1] / needed, note=f"{steps[-1]:,} of {needed:,} steps"))
    return tuple(found)


def _loss(line: dict[str, Any], key: str) -> float:
    return math.nan if line[key] is None else float(line[key])


def _longest_plateau(steps: list[int], averages: list[float]) -> float:
    """Longest stretch without progress as a share of all steps."""
    best, since, longest = averages[0], steps[0], 0
    for step, average in zip(steps, averages, strict=True):
        if average < best * (1 - PROGRESS):
            best, since = average, step
        longest = max(longest, step - since)
    return longest / (steps[-1] - steps[0])


@torch.no_grad()
def against_gpt2(subject: Subject) -> tuple[Measurement, ...]:
    """L5: validation loss over that of a GPT2 of the same size that was trained alike, on the same tokens.

    Ratio of the means over 32 windows of 256 tokens; the interval is that of a ratio of paired means (delta method:
    Cochran 1977, Sampling Techniques, section 6.3).

    Raises:
        Unmeasurable: If there is no such GPT2, or it was not trained alike: the reason names what differs.
    """
    spec, info = subject.plan.spec, subject.plan.checkpoint
    if info is None or not isinstance(spec, ModelSpec):
        raise Unmeasurable(f"nothing is known of how {spec.name} was trained")
    try:
        baseline = find_baseline(info, spec)
        gpt2 = _built(baseline).to(subject.device)
    except ValueError as error:
        raise Unmeasurable(str(error)) from error
    own: list[float] = []
    other: list[float] = []
    windows_BT = subject.windows(VALID_WINDOWS, VALID_LENGTH, apart=True)
    for batch_BT in windows_BT.split(BATCH_SIZE):
        own += window_losses(subject.trained_model, batch_BT)
        other += window_losses(gpt2, batch_BT)
        subject.progress(len(own), len(windows_BT), "validation loss")
    mean, gpt2_mean = statistics.fmean(own), statistics.fmean(other)
    ratio = mean / gpt2_mean
    _, low, high = finite_interval([(a - ratio * b) / gpt2_mean for a, b in zip(own, other, strict=True)])
    return (
        measured(
            "loss_ratio",
            ratio,
            n=len(own),
            ci95=(ratio + low, ratio + high),
            note=f"loss {mean:.2f}, GPT2 {gpt2_mean:.2f} nats",
            detail={"baseline_sha256": baseline.sha256},
        ),
        measured("parameter_ratio", _parameters(subject.trained_model) / _parameters(gpt2)),
    )


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _built(info: CheckpointInfo) -> nn.Module:
    """The model of a checkpoint folder, in fp32."""
    if info.config is None:
        raise ValueError(f"{info.path} has no configuration")
    model = build_model(info.config).float()
    load_into(model, load_weights(info), info.config.variant, info)
    return model.eval()
