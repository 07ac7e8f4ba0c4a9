"""The subject of a run: which model, from which weights, on which device, with which text. Planning needs no torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gt import registry, user_models
from gt.checkpoint import (
    CheckpointInfo,
    inspect_checkpoint,
    inspect_user_checkpoint,
    load_into,
    load_weights,
    tokenizer_vocab_size,
)
from gt.data.corpus import Corpus, check_text_file, python_reference, text_file
from gt.machine import cpu_name, device_name
from gt.measurement import Unmeasurable
from gt.models.config import MIXER_OPS, ModelConfig
from gt.registry import ModelSpec
from gt.resources import fixtures_dir
from gt.sabotage import SABOTAGES
from gt.tokenizers import Tokenizer, is_subword
from gt.user_models import UserModel

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from gt.training.mini import MiniTraining
    from gt.training.stream import TokenStream

DEFAULT_CHECKPOINT = "checkpoints/gf-mh-3.5m"
DTYPES = ("float32", "bfloat16", "float64")
DEVICES = ("auto", "cpu", "cuda")
MIN_TOKENS = 600  # two of the longest windows that probes cut; fewer would be the same text again and again

# One number for every process of a run: results of 1 and 2 threads differ in the last bits (3e-7), and a scorecard
# from two workers must equal one from a single process.
MAX_THREADS = 2

Progress = Callable[[int, int, str], None]


class SubjectRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for on the command line.

    Attributes:
        model: `VARIANT[@SCALE]`, or `module:factory` or a registered name for the user's own; None for the shipped
            checkpoint.
        ckpt: Checkpoint folder or `.pt` file; None for a fresh initialisation.
        scale: Scale of a name that gives none.
        device: "auto", "cpu" or "cuda".
        dtype: Of parameters and activations; recurrent states stay in fp32.
        seed: Of initialisations and samples.
        corpus: Text file; None for the reference documentation that every Python ships.
        fresh: Ignore measurements cached by earlier runs.
        sabotage: Name of a fault to plant (`gt.sabotage`).
        run_id: Of this run: what it caches itself is not "cached".
    """

    model: str | None = None
    ckpt: str | None = None
    scale: str | None = None
    device: str = "auto"
    dtype: str = "float32"
    seed: int = 0
    corpus: str | None = None
    fresh: bool = False
    sabotage: str | None = None
    run_id: str = ""


class SubjectPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was found to make sense.

    Attributes:
        label: Name in reports, e.g. "GF-MH@3.5M", "GF-MH@3.5M+dead-mamba".
        request: What was asked for.
        spec: The model.
        capabilities: What the subject offers to the checks; for a model of the user's own, what it may offer.
        checkpoint: The checkpoint, or None for a fresh initialisation.
        tokenizer: Path of the tokenizer.
        config: Configuration of the model; None for one of the user's own.
        vocab_size: Width of the logits.
    """

    label: str
    request: SubjectRequest
    spec: ModelSpec | UserModel
    capabilities: frozenset[str]
    checkpoint: CheckpointInfo | None
    tokenizer: Path
    config: ModelConfig | None
    vocab_size: int


def plan_subject(request: SubjectRequest) -> SubjectPlan:
    """Check a request, from file headers alone.

    Raises:
        ValueError: One line with what was got, what was expected and what to do.
    """
    for name, value, known in (("dtype", request.dtype, DTYPES), ("device", request.device, DEVICES)):
        if value not in known:
            raise ValueError(f"unknown {name} {value!r}: expected one of {', '.join(known)}")
    if request.seed < 0:
        raise ValueError(f"seed is {request.seed}: expected 0 or more")
    if request.sabotage is not None and request.sabotage not in SABOTAGES:
        raise ValueError(f"unknown sabotage {request.sabotage!r}: there are {', '.join(SABOTAGES)}")
    if request.corpus is not None:
        check_text_file(request.corpus)
    shipped = fixtures_dir() / DEFAULT_CHECKPOINT
    ckpt = request.ckpt
    if request.model is None and ckpt is None:
        ckpt = str(shipped)
    name = request.model or "GF-MH"
    spec = user_models.find(name, request.scale) or registry.resolve(name, request.scale)
    if request.sabotage is not None:
        _require_breakable(request.sabotage, spec)
    checkpoint = None
    if ckpt is not None:
        path = Path(ckpt).absolute()
        checkpoint = inspect_user_checkpoint(path) if isinstance(spec, UserModel) else inspect_checkpoint(path, spec)
    tokenizer = checkpoint.tokenizer if checkpoint and checkpoint.tokenizer else shipped / "tokenizer.json"
    tokens = tokenizer_vocab_size(tokenizer)
    config = None
    if isinstance(spec, ModelSpec):
        config = (checkpoint and checkpoint.config) or spec.config(tokens)
        if tokens > config.vocab_size:
            raise ValueError(
                f"tokenizer {tokenizer} has {tokens} tokens, but {ckpt} embeds {config.vocab_size}: "
                "save the checkpoint as a folder with its own tokenizer.json"
            )
    capabilities = spec.capabilities | ({"subword_tokenizer"} if is_subword(tokenizer) else set())
    if checkpoint is not None:
        capabilities |= {"checkpoint"}
        if checkpoint.train_log is not None:
            capabilities |= {"training_log"}
    return SubjectPlan(
        label=spec.name + (f"+{request.sabotage}" if request.sabotage else ""),
        request=request,
        spec=spec,
        capabilities=capabilities,
        checkpoint=checkpoint,
        tokenizer=tokenizer,
        config=config,
        vocab_size=config.vocab_size if config else tokens,
    )


def _require_breakable(sabotage: str, spec: ModelSpec | UserModel) -> None:
    """Refuse a fault that this model cannot have."""
    if isinstance(spec, UserModel):
        raise ValueError(f"sabotage {sabotage!r} breaks a model of groundthink, and {spec.name} is your own")
    needed = SABOTAGES[sabotage].needs
    if not needed <= {*spec.variant.mixers, *spec.capabilities}:
        raise ValueError(f"sabotage {sabotage!r} breaks {' and '.join(sorted(needed))}, which {spec.name} lacks")


class Subject:
    """A model ready to be measured.

    Attributes:
        plan: What it was made from.
        progress: Called as progress(done, total, note) by measurements that take long.
        device: Where the model is.
        model: The model under test: the checkpoint, or a fresh initialisation.
        tokenizer: Its tokenizer.
    """

    def __init__(self, plan: SubjectPlan, progress: Progress) -> None:
        import torch

        from gt import sabotage

        sabotage.clear()
        torch.set_num_threads(min(MAX_THREADS, os.cpu_count() or 1))
        self.plan = plan
        self.progress = progress
        self.device = torch.device(device_name(plan.request.device))
        self.dtype: torch.dtype = getattr(torch, plan.request.dtype)
        self.tokenizer = Tokenizer(plan.tokenizer)
        weights = load_weights(plan.checkpoint) if plan.checkpoint else None
        self.model = self.build(weights).to(self.dtype)

    @property
    def config(self) -> ModelConfig:
        """Configuration of the model.

        Raises:
            Unmeasurable: If it is the user's own, which has none that is known.
        """
        if self.plan.config is None:
            raise Unmeasurable(f"nothing is known of the configuration of {self.plan.spec.name}, a model of your own")
        return self.plan.config

    @property
    def vocab_size(self) -> int:
        """Width of the logits."""
        return self.plan.vocab_size

    @cached_property
    def capabilities(self) -> frozenset[str]:
        """What it offers to the checks, now that it is built."""
        spec = self.plan.spec
        if not isinstance(spec, UserModel):
            return self.plan.capabilities
        return self.plan.capabilities - user_models.OFFERABLE | spec.offered(self.model)

    @property
    def seed(self) -> int:
        """Seed of initialisations and samples."""
        return self.plan.request.seed

    @property
    def ops(self) -> tuple[str, ...]:
        """Operators of `gt.kernels` that the model runs on."""
        mixers = self.plan.config.mixers if self.plan.config else ()
        return tuple(op for mixer in mixers for op in MIXER_OPS[mixer])

    def build(self, weights: dict[str, Tensor] | None = None) -> nn.Module:
        """A new model of the subject's kind in fp32, with its sabotage: fresh from the seed, or with weights."""
        import torch

        from gt.models.build import build_model
        from gt.sabotage import plant

        spec = self.plan.spec
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = spec.build(self.vocab_size) if isinstance(spec, UserModel) else build_model(self.config)
        model = model.float()
        if weights is not None:
            load_into(model, weights, self.plan.spec.name, self.plan.checkpoint)
        if self.plan.request.sabotage is not None:
            plant(self.plan.request.sabotage, model)
        return model.to(self.device).eval()

    @cached_property
    def model_fp32(self) -> nn.Module:
        """The model under test in fp32, where a check compares bits."""
        import torch

        # Built again rather than copied: a sabotage hangs on the modules of the model that it was planted in.
        if self.dtype == torch.float32:
            return self.model
        model = self.build()
        model.load_state_dict(self.model.state_dict())
        return model

    @cached_property
    def mini_training(self) -> MiniTraining:
        """The first steps of training of a fresh model of this kind (cached on disk)."""
        from gt.training.mini import mini_training

        return mini_training(self)

    @cached_property
    def trained_model(self) -> nn.Module:
        """What contribution checks judge, in fp32: the checkpoint, or without one the model after G3's steps.

        A bare initialisation is never judged: projections that start at zero contribute nothing by design.
        """
        if self.plan.checkpoint is not None:
            return self.model_fp32
        model = self.build()
        model.load_state_dict(self.mini_training.weights)  # a sabotage of the weights is in them already
        return model

    @property
    def trained_note(self) -> str:
        """Says what `trained_model` is where that is not the checkpoint."""
        return "" if self.plan.checkpoint else f"no checkpoint: the model after {len(self.mini_training.losses)} steps"

    @cached_property
    def corpus(self) -> Corpus:
        """The text in use."""
        path = self.plan.request.corpus
        return text_file(path) if path is not None else python_reference()

    @cached_property
    def train_tokens(self) -> TokenStream:
        """Training text as tokens."""
        return self._stream(self.corpus.train)

    @cached_property
    def valid_tokens(self) -> TokenStream:
        """Validation text as tokens."""
        return self._stream(self.corpus.valid)

    def _stream(self, documents: tuple[str, ...]) -> TokenStream:
        from gt.training.stream import TokenStream

        return TokenStream(self.tokenizer.encode_documents(documents), MIN_TOKENS)

    def windows(self, count: int, length: int, *, apart: bool = False) -> Tensor:
        """Validation text [count, length] at equal distances, on the device.

        Args:
            count: Number of windows.
            length: Tokens in each.
            apart: Give fewer rather than let them overlap: where each counts as an observation of its own.

        Raises:
            Unmeasurable: If the text has no two windows that lie apart.
        """
        if apart:
            count = min(count, len(self.valid_tokens) // length)
            if count < 2:
                raise Unmeasurable(
                    f"the validation text has {len(self.valid_tokens)} tokens, needed are {2 * length}: give more text"
                )
        return self.valid_tokens.spaced_windows(count, length).to(self.device)

    @property
    def g3_steps(self) -> int:
        """Steps of the short training of G3: more on a GPU, where they are cheap."""
        return self.size("g3_steps_gpu" if self.device.type == "cuda" else "g3_steps")

    def size(self, name: str) -> int:
        """How much is measured at this scale: an entry of `sizes` in `fixtures/scales.yaml`."""
        return registry.scale_sizes(self.plan.spec.scale)[name]

    def describe(self) -> dict[str, Any]:
        """The scorecard's record of the subject, JSON types only."""
        from gt.kernels import resolve

        total, non_embedding = _parameter_counts(self.model)
        info = self.plan.checkpoint
        kernels: dict[str, dict[str, str | None]] = {}
        for op in self.ops:
            try:
                found = resolve(op, self.device.type)
                kernels[op] = {"backend": found.backend.name, "reason": found.reason}
            except ValueError as error:  # G0 judges it
                kernels[op] = {"backend": None, "reason": str(error)}
        return {
            "model": self.plan.spec.name.partition("@")[0],
            "scale": self.plan.spec.scale,
            "capabilities": sorted(self.capabilities),
            "params": {"total": total, "non_embedding": non_embedding},
            "checkpoint": info
            and {"path": str(info.path), "sha256": info.sha256, "step": info.step, "tokens": info.tokens},
            "tokenizer": {
                "kind": self.tokenizer.kind,
                "vocab_size": self.tokenizer.vocab_size,
                "sha256": self.tokenizer.sha256,
            },
            "device": self.device.type,
            "dtype": self.plan.request.dtype,
            "kernels": kernels,
            "corpus": {"name": self.corpus.name, "sha256": self.corpus.sha256, "tokens": len(self.train_tokens)},
            "sabotage": self.plan.request.sabotage,
        }

    def environment(self) -> dict[str, Any]:
        """What the measurements ran on, JSON types only."""
        import numpy as np
        import torch

        return {
            "torch": torch.__version__,
            "numpy": np.__version__,
            "threads": torch.get_num_threads(),
            "cpu": cpu_name(),
            "gpu": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else None,
        }


def load_subject(plan: SubjectPlan, progress: Progress) -> Subject:
    """Load the model, its weights and its tokenizer.

    Args:
        plan: From `plan_subject`.
        progress: Called as progress(done, total, note) by measurements that take long.

    Raises:
        ValueError: If the device is not there or the weights changed since they were planned.
    """
    return Subject(plan, progress)


def _parameter_counts(model: nn.Module) -> tuple[int, int]:
    """Parameters in total, and without the tables that are looked up."""
    from torch import nn

    tables = {id(module.weight): module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    total = sum(parameter.numel() for parameter in model.parameters())
    return total, total - sum(table.numel() for table in tables.values())
