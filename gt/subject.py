"""The subject of a run: a model with its weights, on its device, with its text. Torch is loaded when one is built."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gt import registry, user_models
from gt.cache import Resumable, resumable
from gt.checkpoint import CheckpointInfo, load_into, load_weights, read_training
from gt.data.corpus import Corpus, python_reference, text_file
from gt.machine import cpu_name, device_name
from gt.measurement import Unmeasurable
from gt.models.config import MIXER_OPS, ModelConfig
from gt.models.published_config import PublishedConfig, parameter_counts
from gt.planning import SubjectPlan, SubjectRequest, plan_subject
from gt.pretrained import PublishedModel, load_published
from gt.registry import ModelSpec
from gt.resources import seen_from_here
from gt.tokenizers import Tokenizer
from gt.user_models import UserModel

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from gt.training.mini import MiniTraining
    from gt.training.stream import TokenStream

__all__ = ["Progress", "Subject", "SubjectPlan", "SubjectRequest", "load_subject", "plan_subject"]

MIN_TOKENS = 600  # two of the longest windows that probes cut; fewer would be the same text again and again

# One number for every process of a run: results of 1 and 2 threads differ in the last bits (3e-7), and a scorecard
# from two workers must equal one from a single process. Fewer where torch has fewer: OMP_NUM_THREADS=1 is obeyed.
MAX_THREADS = 2

Progress = Callable[[int, int, str], None]


class Subject:
    """A model ready to be measured.

    Attributes:
        plan: What it was made from.
        progress: Called as progress(done, total, note) by measurements that take long.
        device: Where the model is.
        model: The model under test: the checkpoint, or a fresh initialisation.
        tokenizer: Its tokenizer.
        kept: What a measurement leaves for the next one, by name: it saves time and changes no result.
    """

    def __init__(self, plan: SubjectPlan, progress: Progress) -> None:
        import torch

        from gt import sabotage

        sabotage.clear()
        torch.set_num_threads(min(MAX_THREADS, torch.get_num_threads()))
        self.plan = plan
        self.progress = progress
        self.kept: dict[str, Any] = {}
        self.device = torch.device(device_name(plan.request.device))
        self.dtype: torch.dtype = getattr(torch, plan.request.dtype)
        self.tokenizer = Tokenizer(plan.tokenizer, None if "tokenizer" in plan.capabilities else plan.vocab_size)
        self.model = self._ready(self._load()).to(self.dtype)

    @property
    def config(self) -> ModelConfig | PublishedConfig:
        """Configuration of the model.

        Raises:
            Unmeasurable: If it is the user's own, which has none that is known.
        """
        if self.plan.config is None:
            raise Unmeasurable(f"nothing is known of the configuration of {self.plan.spec.name}, a model of your own")
        return self.plan.config

    @property
    def identity(self) -> str:
        """What the model is, for the keys of caches.

        Nothing tells whether the code of a user's own model has changed: what it gave serves the processes of one run.
        """
        return repr(self.plan.config or (self.plan.spec.name, self.vocab_size, self.plan.request.run_id))

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

    def build(self) -> nn.Module:
        """A new model of the subject's kind in fp32, fresh from the seed, with its sabotage."""
        return self._ready(self._fresh())

    def build_as(self, kind: ModelConfig | UserModel, vocab_size: int | None = None) -> nn.Module:
        """A new model of another size, as `build` makes one of the subject's; one's own also for another vocabulary."""
        import torch

        from gt.models.build import build_model

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            if isinstance(kind, UserModel):
                return self._ready(kind.build(vocab_size or self.vocab_size).float())
            return self._ready(build_model(kind).float())

    def _load(self) -> nn.Module:
        """The model with the weights of its checkpoint in fp32; a fresh one without."""
        spec, info = self.plan.spec, self.plan.checkpoint
        if isinstance(spec, PublishedModel):
            return load_published(spec.config, spec.checkpoint.path)
        model = self._fresh()
        if info is not None:
            load_into(model, load_weights(info), spec.name, info)
        return model

    def _fresh(self) -> nn.Module:
        import torch

        from gt.models.build import build_model

        spec = self.plan.spec
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = spec.build(self.vocab_size) if isinstance(spec, UserModel) else build_model(self.config)
        return model.float()

    def _ready(self, model: nn.Module) -> nn.Module:
        from gt.sabotage import plant

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
    def claimed_context(self) -> int:
        """Tokens of context that its scale claims to use."""
        return registry.scale_claims(self.plan.spec.scale)

    @property
    def longest_text(self) -> int | None:
        """Tokens that it can read in a row; None if nothing limits them."""
        return getattr(self.plan.config, "max_positions", 0) or None

    def resumable(self, what: str, **key: Any) -> Resumable:
        """The place on disk of a costly measurement of the weights in use.

        Args:
            what: Kind of measurement.
            key: What can change it beside the subject and what it runs on, JSON types only.
        """
        checkpoint = self.plan.checkpoint
        weights = {"checkpoint": checkpoint and checkpoint.sha256, "dtype": self.plan.request.dtype}
        return resumable(self, what, **weights, **key)

    @property
    def g3_steps(self) -> int:
        """Steps of the short training of G3: more on a GPU, where they are cheap."""
        return self.size("g3_steps_gpu" if self.device.type == "cuda" else "g3_steps")

    def size(self, name: str) -> int:
        """How much is measured at this scale: an entry of `sizes` in `fixtures/scales.yaml`."""
        return registry.scale_sizes(self.plan.spec.scale)[name]

    def describe(self) -> dict[str, Any]:
        """The scorecard's record of the subject, JSON types only."""
        from gt.kernels import BACKENDS, resolve

        spec, info = self.plan.spec, self.plan.checkpoint
        total, non_embedding = (
            parameter_counts(spec.config) if isinstance(spec, PublishedModel) else _parameter_counts(self.model)
        )
        kernels: dict[str, dict[str, str | None]] = {}
        mixed = {op for ops in MIXER_OPS.values() for op in ops}
        between = [op for op in BACKENDS if op not in mixed and (self.ops or op == "cross_entropy")]
        for op in (*self.ops, *between):
            try:
                found = resolve(op, self.device.type)
                kernels[op] = {"backend": found.backend.name, "reason": found.reason}
            except ValueError as error:  # G0 judges it
                kernels[op] = {"backend": None, "reason": str(error)}
        return {
            "model": spec.name.rpartition("@")[0],
            "scale": spec.scale,
            "capabilities": sorted(self.capabilities),
            "withheld": sorted(spec.withheld(self.model)) if isinstance(spec, UserModel) else [],
            "params": {"total": total, "non_embedding": non_embedding},
            "checkpoint": info
            and {
                "path": seen_from_here(info.path),
                "sha256": info.sha256,
                "step": info.step,
                "tokens": info.tokens,
                "training": self._training(info),
            },
            "tokenizer": {
                "kind": self.tokenizer.kind if "tokenizer" in self.capabilities else "borrowed",
                "vocab_size": self.tokenizer.vocab_size,
                "sha256": self.tokenizer.sha256,
            },
            "device": self.device.type,
            "dtype": self.plan.request.dtype,
            "kernels": kernels,
            "corpus": {
                "name": self.corpus.name,
                "sha256": self.corpus.sha256,
                "share": self.corpus.share and round(self.corpus.share, 4),
                "tokens": len(self.train_tokens),
            },
            "sabotage": self.plan.request.sabotage,
        }

    def _training(self, info: CheckpointInfo) -> dict[str, Any] | None:
        """How the checkpoint was trained, where that is recorded."""
        spec = self.plan.spec
        if isinstance(spec, UserModel):
            record = user_models.read_record(info.path)
            return None if record is None else record.training
        # A folder with a configuration is one that `groundthink train` wrote, and says how.
        return read_training(info.path) if isinstance(spec, ModelSpec) and info.path.is_dir() else None

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
