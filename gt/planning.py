"""Planning a subject: which model, from which weights, with which tokenizer. Reads file headers alone and no torch."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gt import registry, user_models
from gt.checkpoint import CheckpointInfo, inspect_checkpoint, inspect_user_checkpoint, tokenizer_vocab_size
from gt.data.corpus import check_text_file
from gt.models.config import ModelConfig
from gt.models.published_config import PublishedConfig
from gt.pretrained import PublishedModel, find_published
from gt.registry import ModelSpec
from gt.resources import fixtures_dir
from gt.sabotage import SABOTAGES
from gt.tokenizers import is_subword
from gt.user_models import UserModel

DEFAULT_CHECKPOINT = "checkpoints/gf-mh-3.5m"
DTYPES = ("float32", "bfloat16", "float64")
DEVICES = ("auto", "cpu", "cuda")


class SubjectRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for on the command line.

    Attributes:
        model: `VARIANT[@SCALE]`, `rwkv6:PATH` or `mamba2:PATH` for published weights, or `module:factory` or a
            registered name for the user's own; None for the shipped checkpoint.
        ckpt: Checkpoint folder or `.pt` file; None for a fresh initialisation, and for published weights.
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
    spec: ModelSpec | UserModel | PublishedModel
    capabilities: frozenset[str]
    checkpoint: CheckpointInfo | None
    tokenizer: Path
    config: ModelConfig | PublishedConfig | None
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
    spec = (
        find_published(name, request.scale)
        or user_models.find(name, request.scale)
        or registry.resolve(name, request.scale)
    )
    if request.sabotage is not None:
        _require_breakable(request.sabotage, spec)
    checkpoint = spec.checkpoint if isinstance(spec, PublishedModel) else None
    if ckpt is not None:
        if isinstance(spec, PublishedModel):
            raise ValueError(f"--ckpt {ckpt} was given for {name}, whose path is its checkpoint: leave --ckpt out")
        path = Path(ckpt).absolute()
        checkpoint = _inspect_own(path) if isinstance(spec, UserModel) else inspect_checkpoint(path, spec)
    tokenizer = checkpoint.tokenizer if checkpoint and checkpoint.tokenizer else shipped / "tokenizer.json"
    tokens = tokenizer_vocab_size(tokenizer)
    config: ModelConfig | PublishedConfig | None = None
    if isinstance(spec, PublishedModel):
        config = spec.config
    elif isinstance(spec, ModelSpec):
        config = (checkpoint and checkpoint.config) or spec.config(tokens)
        if tokens > config.vocab_size:
            raise ValueError(
                f"tokenizer {tokenizer} has {tokens} tokens, but {ckpt} embeds {config.vocab_size}: "
                "save the checkpoint as a folder with its own tokenizer.json"
            )
    capabilities = spec.capabilities
    # The shipped tokenizer's ids let published weights run; what those read in them is no text.
    if not isinstance(spec, PublishedModel) or spec.checkpoint.tokenizer is not None:
        capabilities |= {"tokenizer"} | ({"subword_tokenizer"} if is_subword(tokenizer) else set())
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


def _inspect_own(path: Path) -> CheckpointInfo:
    """A checkpoint of a model of the user's own, with what it says of its training."""
    checkpoint, record = inspect_user_checkpoint(path), user_models.read_record(path)
    if record is None:
        return checkpoint
    return msgspec.structs.replace(checkpoint, step=record.step, tokens=record.tokens)


def _require_breakable(sabotage: str, spec: ModelSpec | UserModel | PublishedModel) -> None:
    """Refuse a fault that this model cannot have."""
    if isinstance(spec, UserModel):
        raise ValueError(f"sabotage {sabotage!r} breaks a model of groundthink, and {spec.name} is your own")
    mixers = spec.config.mixers if isinstance(spec, PublishedModel) else spec.variant.mixers
    lacking = SABOTAGES[sabotage].needs - {*mixers, *spec.capabilities}
    if lacking:
        raise ValueError(f"sabotage {sabotage!r} needs {' and '.join(sorted(lacking))}, which {spec.name} lacks")
