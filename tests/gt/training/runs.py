"""Small runs for the tests of training."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from gt import registry
from gt.data.batches import Batch
from gt.models.build import build_model
from gt.training.config import TrainConfig
from gt.training.step import Step

WORDS = [hashlib.sha256(str(i).encode()).hexdigest()[: 2 + i % 5] for i in range(300)]


def write_prose(path: Path) -> Path:
    """A text of 60,000 characters in 40 documents, the same everywhere."""
    generator = torch.Generator().manual_seed(0)
    documents = []
    for _ in range(40):
        chosen = torch.randint(len(WORDS), (320,), generator=generator).tolist()
        documents.append(" ".join(WORDS[i] for i in chosen))
    path.write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8")
    return path


def settings(text: Path, out: Path, **changes: Any) -> TrainConfig:
    """A run of a second: RWKV6@TINY on short windows."""
    base: dict[str, Any] = {"model": "RWKV6@TINY", "vocab_size": 320, "steps": 8, "batch_size": 2, "length": 32}
    base |= {"log_every": 3, "eval_every": 4, "device": "cpu", "corpus": (str(text),), "out": str(out)}
    return TrainConfig(**{**base, **changes})


def one_step(model: str = "GF-MH@TINY", **changes: Any) -> Step:
    """The step of a fresh model with 50 tokens, the same each time."""
    torch.manual_seed(0)
    config = TrainConfig(**{"model": model, "batch_size": 4, "length": 16, "steps": 10, "lr": 1e-2, **changes})
    return Step(build_model(registry.resolve(model).config(50)), config, torch.device("cpu"))


def drawn(rows: int = 4, length: int = 16, seed: int = 0, weighted: bool = False) -> Batch:
    """A batch of random tokens."""
    generator = torch.Generator().manual_seed(seed)
    tokens_BT = torch.randint(50, (rows, length + 1), generator=generator)
    weights_BT = torch.randint(5, (rows, length), generator=generator).float() if weighted else None
    return Batch(tokens_BT, weights_BT)
