"""The loop behind `groundthink train`: text in, a checkpoint folder out."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from gt import registry, user_models
from gt.checkpoint import WEIGHTS, save_checkpoint
from gt.data.batches import Batch
from gt.data.shards import Progress
from gt.fixed_text import saved_text_losses
from gt.models.build import build_model
from gt.pretrained import split_name
from gt.registry import ModelSpec
from gt.training import initial, resume
from gt.training.average import WeightAverage
from gt.training.config import TrainConfig
from gt.training.inputs import Inputs, open_inputs
from gt.training.interrupt import asked_to_stop
from gt.training.interventions import COMPONENTS, REST, learning_rate, warn_of_no_effect
from gt.training.machine import device_of, environment, exact
from gt.training.monitor import SAMPLE_LENGTH, SAMPLE_WINDOWS, Gate, Monitor, finite
from gt.training.optim import next_token_loss
from gt.training.step import Step

log = logging.getLogger(__name__)

LOG = "train_log.jsonl"

Report = Callable[[dict[str, Any]], None]


def train(
    config: TrainConfig,
    report: Report = lambda line: None,
    gates: Sequence[Gate] = (),
    progress: Callable[[Progress], None] = lambda progress: None,
) -> Path:
    """Train a model and write its checkpoint.

    Args:
        config: Settings.
        report: Called with every line of the log.
        gates: Bands to warn by while it trains.
        progress: Called after every shard that is built of `data`.

    Returns:
        The checkpoint's folder: model.safetensors (bf16), config.json, tokenizer.json, train_log.jsonl, and
        training_state.safetensors, with which it can be resumed.

    Raises:
        ValueError: If a setting, a file or the corpus does not fit.
        FloatingPointError: If the loss is no longer finite; the log up to then is kept.
        KeyboardInterrupt: At Ctrl-C, when the state of the run has been saved.
    """
    spec, device = check_run(config)
    config = replace(config, model=spec.name)  # one name, however it was written
    out = Path(config.out)
    with resume.held(out), exact(config, device):
        inputs = open_inputs(config, out / "tokenizer.json", progress)
        run = Run(spec, config, inputs, device, report, gates)
        with run.writing(), asked_to_stop() as stop:  # until here Ctrl-C acts at once: there is nothing to save
            run.advance(config.steps, stop)
            if stop:
                run.save()
                raise KeyboardInterrupt(f"stopped at step {run.step}: go on with --resume")
            run.finish()
    return out


def check_run(config: TrainConfig) -> tuple[ModelSpec, torch.device]:
    """The model and the device of a run, before anything is read; makes its folder.

    Raises:
        ValueError: If a setting does not fit, or the folder holds a run.
    """
    if split_name(config.model) is not None:
        raise ValueError(f"{config.model} is published weights: expected the model to train as VARIANT[@SCALE]")
    if user_models.find(config.model) is not None:
        raise ValueError(
            f"{config.model} is a model of your own: train it with your own code, and give its weights to pytest --ckpt"
        )
    spec = registry.resolve(config.model)
    config.check()
    limit = spec.config().max_positions
    if limit and config.length > limit:
        raise ValueError(f"length is {config.length}: {spec.name} has learned positions for {limit} tokens at most")
    device = device_of(config.device)
    out = Path(config.out)
    if resume.has_state(out) and not (config.resume or config.overwrite):
        step = resume.read_record(out)["step"]
        raise ValueError(f"{out} holds a run at step {step}: give --resume to go on, --overwrite, or another --out")
    if (out / WEIGHTS).is_file() and not (config.resume or config.overwrite):
        raise ValueError(f"{out} holds {WEIGHTS} and nothing to go on from: give --overwrite, or another --out")
    info = initial.inspect_initial(config, spec)
    if config.resume:
        record = resume.read_record(out)
        if info is not None:
            initial.refuse_another(out, record.get("lineage", {}), info)
    out.mkdir(parents=True, exist_ok=True)
    return spec, device


class Run:
    """One model in training: data, model, step, monitor, log and checkpoint.

    Args:
        spec: The model.
        config: Settings.
        inputs: What it reads.
        device: Where it runs.
        report: Called with every line of the log.
        gates: Bands to warn by.

    Attributes:
        step: Steps taken.
        lineage: What is behind the weights that it started with; empty where they were drawn.
        average: Mean of its weights, where they are averaged.
        seconds: Time they took, that of resumed runs before included.
    """

    def __init__(
        self,
        spec: ModelSpec,
        config: TrainConfig,
        inputs: Inputs,
        device: torch.device,
        report: Report = lambda line: None,
        gates: Sequence[Gate] = (),
    ) -> None:
        self.spec, self.config, self.inputs, self.device, self.report = spec, config, inputs, device, report
        self.out = Path(config.out)
        self.step, self.seconds = 0, 0.0
        torch.manual_seed(config.seed)
        self.model = build_model(spec.config(inputs.tokenizer.vocab_size)).to(device)
        self.lineage = {} if config.resume else initial.start(self.model, config, spec)
        self.average = WeightAverage(self.model, config)
        warn_of_no_effect(self.model, config, spec.name)
        self.train_step = Step(self.model, config, device)
        self.batches = inputs.draw(config.seed)
        self.train_step.prepare(self.batches.batch(0))
        self.valid_loss: float | None = None
        sample_BT = inputs.valid[0].windows.tokens_BT[:SAMPLE_WINDOWS, :SAMPLE_LENGTH].to(device)
        self.monitor = Monitor(self.model, self.train_step, sample_BT, gates, config.spike_ratio, config.log_every)
        self._log_bytes = self._resume() if config.resume else 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Open the log; lines after the state that was resumed are cut off.

        Where leaks are allowed, its first line says how much leaked: what follows is read with that in mind.
        """
        path = self.out / LOG
        path.touch()
        os.truncate(path, self._log_bytes)
        with path.open("ab") as self._log:
            if self.config.allow_leaks and not self._log_bytes:
                self._log.write(json.dumps(self._leaked()).encode() + b"\n")
            yield

    def advance(self, stop_at: int, stop: object = None) -> None:
        """Train up to a step, or until `stop` is true after one.

        Raises:
            FloatingPointError: If the loss is no longer finite.
        """
        self._started = time.perf_counter() - self.seconds
        config = self.config
        while self.step < stop_at and not stop:
            batch = self.batches.batch(self.step)
            loss, norm = self.train_step(batch, self.step)
            self.monitor.saw(loss, batch.weights_BT)
            self.step += 1
            self.average.saw(self.step)
            if self._due(config.log_every) or self._due(config.eval_every) or self.step == config.steps:
                self._write_line(float(loss), float(norm))
            if config.save_every and self._due(config.save_every) and self.step < config.steps:
                self.seconds = time.perf_counter() - self._started
                self.save()
        self.seconds = time.perf_counter() - self._started

    def finish(self) -> None:
        """Save what a finished run leaves."""
        self.save()
        if not self.config.keep_state:
            (self.out / resume.STATE).unlink()

    def save(self) -> None:
        """Write the state to resume from, then the checkpoint; each file as a whole or not at all.

        Raises:
            FloatingPointError: If a loss since the last line or a weight is not finite; what was saved before is kept.
        """
        self._refuse_to_save_ruins()
        self._log.flush()
        os.fsync(self._log.fileno())
        record = {
            "step": self.step,
            "settings": resume.settings(self.config),
            "hashes": self.inputs.hashes,
            "log_bytes": self._log.tell(),
            "seconds": self.seconds,
            "valid_loss": finite(self.valid_loss),
            "count": self.monitor.count,
            "unweighted": self.monitor.unweighted,
            "previous_mean": self.monitor.previous_mean,
            "outside": sorted(self.monitor.outside),
            "environment": environment(self.device),
            "lineage": self.lineage,
            "average": self.average.record(),
        }
        losses = self.monitor.losses[: self.monitor.count]
        extra = {"losses": losses, **self.average.tensors()}
        resume.save_state(self.out, self.model, self.train_step, record, extra)
        with self.average.final(self.step):
            training = {**self.settings(), "fixed_text_losses": saved_text_losses(self.model, self.inputs.tokenizer)}
            save_checkpoint(self.out, self.model, step=self.step, tokens=self.tokens, training=training)

    @torch.no_grad()
    def _refuse_to_save_ruins(self) -> None:
        losses = self.monitor.losses[: self.monitor.count]
        norms = torch.stack(torch._foreach_norm(list(self.model.parameters())))
        for what, values in (("a loss since the last line", losses), ("a weight", norms)):
            if not bool(torch.isfinite(values).all()):
                raise FloatingPointError(
                    f"{what} is not finite at step {self.step}, which is not saved: lower lr ({self.config.lr}) or clip"
                )

    def _resume(self) -> int:
        """Take up the run in the folder; returns the length of its log then."""
        record = resume.read_record(self.out)
        resume.refuse_differences(self.out, record, self.config, self.inputs.hashes)
        for name, now in environment(self.device).items():
            if record["environment"].get(name) != now:
                then = record["environment"].get(name)
                log.warning("resumed with %s %s in place of %s: losses may round differently", name, now, then)
        extra = resume.load_state(self.out, self.model, self.train_step)
        self.step, self.seconds, self.valid_loss = record["step"], record["seconds"], record["valid_loss"]
        self.lineage = record.get("lineage", {})
        self.average.load(record.get("average", {}), extra)
        monitor = self.monitor
        monitor.count, monitor.unweighted = record["count"], record["unweighted"]
        monitor.previous_mean = record["previous_mean"]
        monitor.outside = set(record["outside"])
        # Those of a longer interval may be more than the settings of now have room for.
        monitor.losses = torch.cat([extra["losses"][: monitor.count].to(self.device), monitor.losses])
        length: int = record["log_bytes"]
        path = self.out / LOG
        found = path.stat().st_size if path.is_file() else 0
        if found < length:
            raise ValueError(f"{path} has {found:,} bytes, its run had written {length:,}: start anew with overwrite")
        return length

    def _due(self, every: int) -> bool:
        return self.step % every == 0

    def _tokens_per_step(self) -> int:
        return self.config.batch_size * self.config.accumulate * self.config.length

    @property
    def tokens(self) -> int:
        """Tokens trained on so far."""
        return self.step * self._tokens_per_step()

    def _write_line(self, loss: float, norm: float) -> None:
        config, step, monitor = self.config, self.step, self.monitor
        rates = {name: learning_rate(config, name, step - 1) for name in (*COMPONENTS, REST)}
        seconds = time.perf_counter() - self._started
        mean, highest, warnings = monitor.interval(step)
        line: dict[str, Any] = {
            "step": step,
            "tokens": self.tokens,
            "loss": loss,
            "loss_mean": mean,
            "loss_max": highest,
            "perplexity": perplexity(mean),
            "grad_norm": norm,
            "lr": rates[REST],
            "lrs": rates,
            **monitor.measure(norm),
        }
        if self._due(config.eval_every) or step == config.steps:
            self.valid_loss, losses = self._validate()
            line |= {"valid_loss": self.valid_loss, "valid_perplexity": perplexity(self.valid_loss)}
            if len(losses) > 1:
                names = _told_apart([held_out.name for held_out in self.inputs.valid])
                line["valid_losses"] = dict(zip(names, losses, strict=True))
            if step == config.steps and self.average.count:
                with self.average.final(step):
                    self.valid_loss, _ = self._validate()
                line["valid_loss_averaged"] = self.valid_loss
        if step > config.warmup_ratio * config.steps:
            warnings += monitor.judge(line, step)
        line["warnings"] = warnings
        line |= {"tokens_per_s": round(line["tokens"] / seconds), "seconds": round(seconds, 2)}
        line = finite(line)
        self._log.write(json.dumps(line).encode() + b"\n")
        self._log.flush()
        self.report(line)
        if not math.isfinite(loss):
            raise FloatingPointError(f"loss is {loss} at step {step}: lower lr ({config.lr}) or clip")

    def _validate(self) -> tuple[float, list[float]]:
        """The validation loss, and that of each source."""
        losses = [self._valid_loss(held_out.windows) for held_out in self.inputs.valid]
        shares = [held_out.share for held_out in self.inputs.valid]
        return sum(loss * share for loss, share in zip(losses, shares, strict=True)), losses

    @torch.no_grad()
    def _valid_loss(self, windows: Batch) -> float:
        """Loss over windows in nats, weighted as in training."""
        total = weight = 0.0
        size = self.config.batch_size
        for start in range(0, len(windows.tokens_BT), size):
            tokens_BT = windows.tokens_BT[start : start + size].to(self.device)
            weights_BT = None if windows.weights_BT is None else windows.weights_BT[start : start + size]
            share = float(len(tokens_BT) if weights_BT is None else weights_BT.sum())
            with self.train_step.autocast():
                moved = None if weights_BT is None else weights_BT.to(self.device)
                total += float(next_token_loss(self.model, tokens_BT, moved)) * share
            weight += share
        return total / max(weight, 1e-9)

    def _leaked(self) -> dict[str, float]:
        """How much validation text occurs in training, as log and configuration name it."""
        leaked = self.inputs.leaked
        return {"leaked_share": leaked.text, "leaked_documents": leaked.documents, "leaked_windows": leaked.windows}

    def settings(self) -> dict[str, Any]:
        """Settings and outcome, for the checkpoint's configuration: names and hashes, no paths of this machine."""
        config = self.config
        sources, valid = (
            [{**asdict(source), "path": Path(source.path).name} for source in of] for of in (config.data, config.valid)
        )
        return {
            **config.recorded(),
            "corpus": [Path(path).name for path in config.corpus],
            "hashes": self.inputs.hashes,
            "valid": valid,
            "data": sources,
            "tokenizer": Path(config.tokenizer).name if config.tokenizer else None,
            "shards": Path(config.shards).name,
            "out": self.out.name,
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu",
            "corpus_tokens": self.inputs.tokens,
            "valid_loss": finite(self.valid_loss),
            **self._leaked(),
            "seconds": round(self.seconds, 1),
            **self.lineage,
        }


def _told_apart(names: Sequence[str]) -> list[str]:
    """The names, those that occur more than once with a number."""
    return [
        f"{name} [{names[: index + 1].count(name)}]" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]


def perplexity(loss: float) -> float:
    """exp(loss), infinite where that is too large for a number."""
    return math.exp(loss) if loss < 700 else math.inf
