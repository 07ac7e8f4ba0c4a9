"""Stands in for `gt.subject` in pytester sessions: no torch, and behaviour chosen by the model's name."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

TRAINING = {"hashes": {"text": "3" * 64}, "seed": 0, "lr": 0.001}
TEXT = frozenset({"tokenizer", "subword_tokenizer"})
HYBRID = frozenset({"kernels", "scales", "recipe", "states", "two_components", "streaming", "generation"}) | TEXT
MODELS = {
    "GF-MH": HYBRID,
    "HY": HYBRID,
    "GPT2": frozenset({"generation"}) | TEXT,
    "CHARS": HYBRID - {"subword_tokenizer"},
    "UNLOADABLE": HYBRID,
}


class SubjectRequest(SimpleNamespace):
    model: str | None
    ckpt: str | None


def plan_subject(request: Any) -> SimpleNamespace:
    variant, _, scale = (request.model or "GF-MH").partition("@")
    if variant not in MODELS:
        raise ValueError(f"unknown model {variant!r}:\nnearest is GF-MH")
    if request.ckpt is not None and not Path(request.ckpt).is_dir():
        raise ValueError(f"checkpoint {request.ckpt} does not exist")
    scale = scale or request.scale or "3.5M"
    name = f"{variant}@{scale}"
    trained = {"checkpoint"} if request.model is None or request.ckpt else set()
    return SimpleNamespace(
        label=name + (f"+{request.sabotage}" if request.sabotage else ""),
        request=request,
        spec=SimpleNamespace(name=name, variant=variant, scale=scale),
        capabilities=MODELS[variant] | trained,
        checkpoint=SimpleNamespace(path=Path(request.ckpt)) if request.ckpt else None,
    )


class Subject:
    def __init__(self, plan: Any, progress: Any) -> None:
        self.plan, self.progress, self.capabilities = plan, progress, plan.capabilities

    def describe(self) -> dict[str, Any]:
        request = self.plan.request
        return {
            "model": self.plan.spec.name,
            "scale": self.plan.spec.scale,
            "params": {"total": 4_200_000, "non_embedding": 3_100_000},
            "checkpoint": {"path": request.ckpt, "sha256": "0" * 64, "step": 100, "tokens": 6400, "training": TRAINING}
            if request.ckpt
            else None,
            "tokenizer": {"kind": "bpe", "vocab_size": 8192, "sha256": "1" * 64},
            "device": "cpu",
            "dtype": request.dtype,
            "kernels": {"wkv6": {"backend": "chunked", "reason": "fastest on this device"}},
            "corpus": {"name": "python-reference", "sha256": "2" * 64, "tokens": 1000},
            "sabotage": request.sabotage,
        }

    def environment(self) -> dict[str, Any]:
        return {"torch": "2.13.0", "threads": 1, "cpu": "a cpu", "gpu": None}


def load_subject(plan: Any, progress: Any) -> Subject:
    with contextlib.suppress(KeyError):
        with Path(os.environ["FAKE_LOADS"]).open("a", encoding="utf-8") as log:
            log.write(plan.label + "\n")
    if plan.spec.variant == "UNLOADABLE":
        raise RuntimeError("the weights\nare gone")
    return Subject(plan, progress)
