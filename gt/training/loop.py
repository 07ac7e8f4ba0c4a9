"""The loop behind `groundthink train`: text in, a checkpoint folder out."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from gt import registry, user_models
from gt.checkpoint import save_checkpoint
from gt.data.corpus import text_file
from gt.models.build import build_model
from gt.pretrained import split_name
from gt.tokenizers import Tokenizer, train_bpe
from gt.training.config import TrainConfig
from gt.training.optim import captured_step, cosine_schedule, make_optimizer, next_token_loss, train_step
from gt.training.stream import TokenStream

log = logging.getLogger(__name__)

VALID_WINDOWS = 64
MIN_VOCAB_SIZE = 257


def train(config: TrainConfig, report: Callable[[dict[str, Any]], None] = lambda line: None) -> Path:
    """Train a model and write its checkpoint.

    Args:
        config: Settings.
        report: Called with every line of the log.

    Returns:
        The checkpoint's folder: model.safetensors (bf16), config.json, tokenizer.json, train_log.jsonl.

    Raises:
        ValueError: If a setting, a file or the corpus does not fit.
        FloatingPointError: If the loss is no longer finite; the log up to then is kept.
    """
    if split_name(config.model) is not None:
        raise ValueError(f"{config.model} is published weights: expected the model to train as VARIANT[@SCALE]")
    if user_models.find(config.model) is not None:
        raise ValueError(
            f"{config.model} is a model of your own: train it with your own code, and give its weights to pytest --ckpt"
        )
    spec = registry.resolve(config.model)
    for name in ("steps", "batch_size", "length", "log_every", "eval_every"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}: expected at least 1")
    limit = spec.config().max_positions
    if limit and config.length > limit:
        raise ValueError(f"length is {config.length}: {spec.name} has learned positions for {limit} tokens at most")
    device = _device(config.device)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    train_documents, valid_documents, corpora = _documents(config)
    tokenizer = _tokenizer(config, train_documents, out)
    train_stream = TokenStream(tokenizer.encode_documents(train_documents), config.length + 1)
    valid_stream = TokenStream(tokenizer.encode_documents(valid_documents), config.length + 1)

    torch.manual_seed(config.seed)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    model = build_model(spec.config(tokenizer.vocab_size)).to(device)
    lr: float | torch.Tensor = torch.tensor(0.0, device=device) if device.type == "cuda" else 0.0
    optimizer = make_optimizer(model, lr, config.weight_decay)
    batches = train_stream.random_windows(config.batch_size, config.length, config.seed)
    valid_batches = valid_stream.spaced_windows(VALID_WINDOWS, config.length + 1).to(device).split(config.batch_size)

    if device.type == "cuda":
        step_on = captured_step(model, optimizer, next(batches).to(device), config.clip)
    else:

        def step_on(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return train_step(model, optimizer, tokens, config.clip)

    @torch.no_grad()
    def validate() -> float:
        losses = [next_token_loss(model, batch) * len(batch) for batch in valid_batches]
        return float(sum(losses) / VALID_WINDOWS)

    started = time.perf_counter()
    valid_loss = math.nan
    with (out / "train_log.jsonl").open("w", encoding="utf-8") as log_file:
        for step in range(config.steps):
            rate = cosine_schedule(step, config.steps, config.lr, config.warmup_ratio, config.final_lr_ratio)
            for group in optimizer.param_groups:
                if isinstance(group["lr"], torch.Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
            loss, norm = step_on(next(batches).to(device, non_blocking=True))
            last = step + 1 == config.steps
            if not (last or (step + 1) % config.log_every == 0 or (step + 1) % config.eval_every == 0):
                continue
            seconds = time.perf_counter() - started
            tokens = (step + 1) * config.batch_size * config.length
            line: dict[str, Any] = {
                "step": step + 1,
                "tokens": tokens,
                "loss": float(loss),
                "grad_norm": float(norm),
                "lr": rate,
                "tokens_per_s": round(tokens / seconds),
                "seconds": round(seconds, 2),
            }
            if last or (step + 1) % config.eval_every == 0:
                valid_loss = line["valid_loss"] = validate()
            log_file.write(json.dumps(line) + "\n")
            log_file.flush()
            report(line)
            if not math.isfinite(line["loss"]):
                raise FloatingPointError(f"loss is {line['loss']} at step {step + 1}: lower lr ({config.lr}) or clip")
    training = asdict(config) | {
        "corpus": corpora,
        "valid": [Path(p).name for p in config.valid],
        "tokenizer": Path(config.tokenizer).name if config.tokenizer else None,
        "out": out.name,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "corpus_tokens": len(train_stream),
        "valid_loss": valid_loss,
        "seconds": round(time.perf_counter() - started, 1),
    }
    save_checkpoint(
        out, model, step=config.steps, tokens=config.steps * config.batch_size * config.length, training=training
    )
    return out


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {name!r}: expected auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but this torch sees no GPU")
    return torch.device(name)


def _documents(config: TrainConfig) -> tuple[list[str], list[str], dict[str, str]]:
    """Training and validation documents, and the hash of each training file."""
    if not config.corpus:
        raise ValueError("no corpus: give at least one text file to train on (--corpus FILE)")
    corpora = [text_file(path) for path in config.corpus]
    held_out = [text_file(path) for path in config.valid]
    hashes = {corpus.name: corpus.sha256 for corpus in corpora}
    train = [document for corpus in corpora for document in corpus.train]
    tenth = [document for corpus in corpora for document in corpus.valid]
    if not held_out:
        return train, tenth, hashes
    return train + tenth, [document for corpus in held_out for document in corpus.train + corpus.valid], hashes


def _tokenizer(config: TrainConfig, documents: list[str], out: Path) -> Tokenizer:
    path = out / "tokenizer.json"
    if config.tokenizer is None:
        log.info("training a tokenizer of %d tokens", config.vocab_size)
        if config.vocab_size < MIN_VOCAB_SIZE:
            raise ValueError(
                f"vocab_size is {config.vocab_size}: bytes and end of text alone are {MIN_VOCAB_SIZE} tokens"
            )
        train_bpe(documents, config.vocab_size, path)
    elif not Path(config.tokenizer).is_file():
        raise ValueError(f"tokenizer {config.tokenizer}: no such file; expected a tokenizer.json")
    elif Path(config.tokenizer).resolve() != path.resolve():
        path.write_bytes(Path(config.tokenizer).read_bytes())
    return Tokenizer(path)
