"""The GPT-2 that a checkpoint is compared with: where it lies, and whether it was trained alike. Imports no torch.

It is the folder `baseline` in the checkpoint, or, where `groundthink train --compare` trained both, the folder of GPT2
with the same seed beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gt import registry
from gt.checkpoint import CheckpointInfo, inspect_checkpoint, read_training, sha256_of
from gt.models.config import parameter_counts
from gt.registry import ModelSpec

FOLDER = "baseline"

# Of what a run started with, what it had read is compared: tokens_before and hashes_before.
_OF_THE_PLACE = ("model", "out", "device", "seconds", "shards", "workers", "allow_leaks", "init")
_OF_THE_OUTCOME = ("valid_loss", "fixed_text_losses", "leaked_share", "leaked_documents", "leaked_windows")
_OF_THE_LOG = ("log_every", "eval_every", "save_every", "resume", "overwrite", "keep_state", "spike_ratio")
_OF_THE_MACHINE = ("compile", "graph", "deterministic")
# What was read counts, by its bytes, not how it was made.
_OF_THE_TOKENIZER = ("tokenizer", "tokenizer_kind", "vocab_size")
_OF_THE_COMPONENTS = ("rwkv_", "mamba_", "fusion_", "gate_", "balance")
"""Beginnings of settings that a transformer has no use for."""
MAY_DIFFER = frozenset({*_OF_THE_PLACE, *_OF_THE_OUTCOME, *_OF_THE_LOG, *_OF_THE_MACHINE, *_OF_THE_TOKENIZER})


def find_baseline(checkpoint: CheckpointInfo, spec: ModelSpec) -> CheckpointInfo:
    """The GPT2 of the same scale that was trained as a checkpoint was.

    Args:
        checkpoint: A checkpoint folder.
        spec: Its model.

    Raises:
        ValueError: One line: there is none, or what differs in model, tokenizer, text or settings.
    """
    gpt2 = registry.resolve("GPT2", spec.scale)
    folder = _folder(checkpoint.path, spec.name, gpt2.name)
    baseline = inspect_checkpoint(folder, gpt2)
    if checkpoint.config is None or baseline.config is None:
        raise ValueError(f"{checkpoint.path} is no checkpoint folder: only of such is known how it was trained")
    differing = list(_differences(checkpoint, baseline))
    if differing:
        raise ValueError(f"{folder} was not trained alike: {'; '.join(differing[:3])}")
    own, other = (parameter_counts(config)[0] for config in (checkpoint.config, baseline.config))
    if own > registry.limit("baseline_parameters") * other:
        raise ValueError(f"{folder} has {other:,} parameters, this model {own:,}: too many to compare")
    return baseline


def _folder(path: Path, name: str, gpt2: str) -> Path:
    beside = path.parent / path.name.replace(name, gpt2)
    for folder in (path / FOLDER, beside):
        if folder != path and folder.is_dir():
            return folder
    raise ValueError(
        f"no {gpt2} to compare with: expected a checkpoint trained alike in {path / FOLDER}; "
        f"groundthink train --compare {name} {gpt2} trains both"
    )


def _differences(checkpoint: CheckpointInfo, baseline: CheckpointInfo) -> Iterable[str]:
    tokenizers = {sha256_of(info.path / "tokenizer.json") for info in (checkpoint, baseline)}
    if len(tokenizers) > 1:
        yield "another tokenizer"
    if checkpoint.step != baseline.step:
        yield f"{baseline.step} steps for {checkpoint.step}"
    own, other = (read_training(info.path) for info in (checkpoint, baseline))
    for name in sorted(own.keys() | other.keys()):
        if name in MAY_DIFFER or name.startswith(_OF_THE_COMPONENTS):
            continue
        if own.get(name) != other.get(name):
            yield f"{name} is {_shown(other, name)} for {_shown(own, name)}"


def _shown(settings: dict[str, Any], name: str) -> str:
    """A setting in a few words."""
    text = repr(settings[name]) if name in settings else "not recorded"
    return text if len(text) <= 40 else f"{text[:37]}..."
