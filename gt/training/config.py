"""What a training run is. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from gt.data.config import DataSource


@dataclass(kw_only=True, slots=True)
class TrainConfig:
    """Settings of a training run. Findings are those of the fusion document's observations (O) at 1,000 steps.

    Attributes:
        model: Model to train, `VARIANT[@SCALE]`.
        corpus: Text files to train on (UTF-8, may be .gz or .xz; a line <|endoftext|> separates documents).
        valid: Sources to validate on, as in `data`, a path alone too; with `corpus` they are text files. By default a
            tenth of the training documents is held out.
        data: Sources to train on in place of `corpus`, each with a path and a weight in the mixture; in a YAML file, or
            as JSON. They are tokenised once, into shards.
        shards: Folder of the shards of `data`; other runs share them.
        valid_share: Share of `data` that is held out where `valid` names nothing.
        allow_leaks: Whether text to validate on may occur in what is trained on.
        workers: Processes that build shards.
        out: Folder of the checkpoint.
        init: Checkpoint folder whose weights and tokenizer to start with, of the same model; optimiser and schedule are
            new. By default the weights are drawn.
        tokenizer: A tokenizer.json; by default that of `init`, or one is trained on the text.
        tokenizer_kind: Tokens of the tokenizer that is trained: "bpe" (bytes and what they join to) or "char".
        vocab_size: Size of the tokenizer that is trained; the most characters of one of characters.
        steps: Optimiser steps. A resumed run may be given more.
        batch_size: Sequences computed at once.
        accumulate: Such batches whose gradients are added up for one step.
        length: Tokens per sequence.
        lr: Peak learning rate.
        final_lr_ratio: Learning rate at the end of the cosine, as a share of the peak.
        warmup_ratio: Share of the steps in which the learning rate rises linearly. O9: 10% in place of 50% lowered the
            loss from 1.59 to 1.578 and left the balance as it was.
        weight_decay: Of matrices; vectors are not decayed.
        clip: Largest global gradient norm.
        dtype: Precision of the products (autocast); parameters stay float32. float16 scales the loss.
        compile: Compile GPT2 with torch.compile; the others run on kernels of their own and are left as they are.
        graph: On a GPU, record the step once as a CUDA graph and replay it.
        average_from: Share of the steps from which on weights are averaged; the mean is what is saved at the end. By
            default they are not. Stochastic weight averaging finds wider optima that generalise better (Izmailov et al.
            2018, arXiv:1803.05407).
        average_every: Steps between two weights of that mean, from the last step back.
        deterministic: Only algorithms that give the same bits again; where there is none, an error.
        seed: Of the initialisation and of the data order.
        device: "auto", "cpu" or "cuda".
        log_every: Steps between two lines of the log.
        eval_every: Steps between two validations.
        save_every: Steps between two checkpoints; 0 saves at the end alone.
        resume: Go on with the run in `out`, exactly as if it had not been interrupted.
        overwrite: Start anew where `out` holds a run.
        keep_state: Leave what resuming needs in the folder of a finished run (12 bytes per parameter).
        spike_ratio: Warn of a step whose loss is above this multiple of the mean since the line before.
        rwkv_lr_mult: Learning rate of RWKV's parameters, as a multiple.
        mamba_lr_mult: Learning rate of Mamba's parameters, as a multiple. O8: 1.0 in place of 0.5 lowered the loss
            (1.59 to 1.53) and worsened the balance (R/M 0.10 to 0.08).
        fusion_lr_mult: Learning rate of the fusion's parameters, as a multiple.
        rwkv_warmup_ratio: Warm-up of RWKV's parameters, where it shall differ. Strategy, task 37: a slow ramp for
            RWKV was proposed and not tried.
        mamba_warmup_ratio: Warm-up of Mamba's parameters, where it shall differ. Strategy, task 37: twice as long for
            Mamba was proposed and not tried.
        rwkv_start: Step before which RWKV's parameters stay as they are. O14 proposed it, to let Mamba catch up.
        mamba_start: Step before which Mamba's parameters stay as they are (strategy, task 37c; not tried).
        gate_freeze_steps: Step before which the fusion's parameters stay as they are. O7: the balance drifts most
            during warm-up; freezing was proposed and not tried.
        rwkv_grad_scale: Factor on the gradients of RWKV's parameters, before clipping.
        mamba_grad_scale: Factor on the gradients of Mamba's parameters, before clipping. O10: 10 raised the loss
            (1.578 to 1.595) and the variance ratio (80 to 200). AdamW divides a constant factor out again: what is
            left of it is its share in the clipped norm.
        balance: Weight of the penalty on unequal output variances, ln(RWKV / (target Mamba))^2. Strategy, task 38,
            proposed (ratio - 1)^2, which at a ratio of 70 is a loss of thousands.
        balance_target: Ratio of the variances that the penalty pulls to.
        rwkv_dropout: Probability at the first step that RWKV's output is dropped, for each sequence and layer. O11: 0.4
            falling to 0.1 raised the loss (1.578 to 1.598) and worsened the balance (R/M 0.08 to 0.03).
        rwkv_dropout_final: Probability at the last step, with a straight line between; by default the same.
    """

    model: str = "GF-MH"
    corpus: tuple[str, ...] = ()
    valid: tuple[DataSource, ...] = ()
    data: tuple[DataSource, ...] = ()
    shards: str = "runs/shards"
    valid_share: float = 0.1
    allow_leaks: bool = False
    workers: int = 1
    out: str = "runs/checkpoint"
    init: str | None = None
    tokenizer: str | None = None
    tokenizer_kind: Literal["bpe", "char"] = "bpe"
    vocab_size: int = 8192
    steps: int = 1000
    batch_size: int = 16
    accumulate: int = 1
    length: int = 256
    lr: float = 2e-3
    final_lr_ratio: float = 0.1
    warmup_ratio: float = 0.1
    weight_decay: float = 0.1
    clip: float = 1.0
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    compile: bool = False
    graph: bool = True
    average_from: float | None = None
    average_every: int = 10
    deterministic: bool = False
    seed: int = 0
    device: str = "auto"
    log_every: int = 20
    eval_every: int = 200
    save_every: int = 0
    resume: bool = False
    overwrite: bool = False
    keep_state: bool = True
    spike_ratio: float = 1.5
    rwkv_lr_mult: float = 1.0
    mamba_lr_mult: float = 1.0
    fusion_lr_mult: float = 1.0
    rwkv_warmup_ratio: float | None = None
    mamba_warmup_ratio: float | None = None
    rwkv_start: int = 0
    mamba_start: int = 0
    gate_freeze_steps: int = 0
    rwkv_grad_scale: float = 1.0
    mamba_grad_scale: float = 1.0
    balance: float = 0.0
    balance_target: float = 1.0
    rwkv_dropout: float = 0.0
    rwkv_dropout_final: float | None = None

    def __post_init__(self) -> None:
        given: tuple[object, ...] = self.valid
        self.valid = tuple(it if isinstance(it, DataSource) else DataSource(path=str(it)) for it in given)

    def check(self) -> None:
        """Find out whether the settings make sense.

        Raises:
            ValueError: If one does not: one line.
        """
        sizes = ("steps", "batch_size", "accumulate", "length", "workers")
        at_least_1 = (*sizes, "log_every", "eval_every", "average_every")
        at_least_0 = ("save_every", "rwkv_start", "mamba_start", "gate_freeze_steps", "weight_decay", "balance")
        for least, names in ((1, at_least_1), (0, at_least_0)):
            for name in names:
                if not getattr(self, name) >= least:
                    raise ValueError(f"{name} is {getattr(self, name)}: expected at least {least}")
        multiples = ("rwkv_lr_mult", "mamba_lr_mult", "fusion_lr_mult", "rwkv_grad_scale", "mamba_grad_scale")
        for name in ("lr", "clip", "balance_target", "spike_ratio", *multiples):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}: expected a number above 0")
        shares = ("valid_share", "final_lr_ratio", "warmup_ratio", "rwkv_warmup_ratio", "mamba_warmup_ratio")
        for name in (*shares, "rwkv_dropout", "rwkv_dropout_final", "average_from"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}: expected a share from 0 to 1")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}: expected a number from 0 to 2^63 - 1")
        if self.dtype not in ("float32", "bfloat16", "float16"):
            raise ValueError(f"dtype is {self.dtype!r}: expected float32, bfloat16 or float16")
        if self.corpus and self.data:
            raise ValueError("both corpus and data are given: name the corpus among the sources of data")
        for source in self.valid if self.corpus else ():
            if source != DataSource(path=source.path) or source.is_generated or source.is_dataset:
                raise ValueError(f"valid has {source.path} with corpus: expected a text file; give the corpus as data")
        if self.resume and self.overwrite:
            raise ValueError("both resume and overwrite are given: choose one")

    def recorded(self) -> dict[str, Any]:
        """The settings as a run keeps them: how weights are averaged only where they are, as runs had it before."""
        averaging = () if self.average_from is not None else ("average_from", "average_every")
        return {name: value for name, value in asdict(self).items() if name not in averaging}


FREE_TO_CHANGE = frozenset(
    {
        *("steps", "out", "device", "log_every", "eval_every", "save_every", "resume", "overwrite", "keep_state"),
        *("corpus", "valid", "data", "shards", "init", "tokenizer", "tokenizer_kind", "vocab_size", "workers"),
    }
)
"""Settings in which a resumed run may differ from its start: init, tokenizer and text are compared by their hashes."""
