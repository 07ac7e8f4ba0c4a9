"""Healthy subjects to prove the checks on, and the same with a fault: short trainings, kept on disk.

Importing this loads no torch; loading a subject does.
"""

from __future__ import annotations

import hashlib
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from filelock import FileLock

from gt.cache import cache_dir, source_hash
from gt.checkpoint import inspect_checkpoint
from gt.registry import VARIANTS, resolve
from gt.resources import suites_dir
from gt.sabotage import SABOTAGES, clear

if TYPE_CHECKING:
    from gt.training.stream import TokenStream

SCALE = "TINY"
VOCAB_SIZE, BATCH_SIZE, LENGTH, LR, LOG_EVERY = 4096, 8, 64, 4e-3, 10
"""Of the short trainings: a model knows more than counts of tokens after a hundred steps, and GPT2, which is wider than
the others, has as many parameters within what L5 compares."""

LENGTHS = (1.0, 0.6, 2.0)
"""Length of training by seed, as a share of what was asked for; seeds beyond begin anew."""

SCRIPTS = ("listener", "reader")


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """A healthy subject.

    Attributes:
        name: How it is shown.
        model: `VARIANT@SCALE`; empty for a scripted subject.
        script: Which script of `gt.scripted`; empty for a trained model.
        seed: Of its initialisation, its batches and its texts.
        steps: Steps of its training.
    """

    name: str
    model: str = ""
    script: str = ""
    seed: int = 0
    steps: int = 0


def controls(count: int, steps: int) -> list[Control]:
    """Healthy subjects: the scripted ones, and trained ones whose first has what every fault needs.

    Every variant with one seed, then with the next, which trains for another length; the scripted ones come first.

    Args:
        count: Number of trained ones.
        steps: Steps of training; see `LENGTHS`.
    """
    names = sorted(VARIANTS, key=lambda name: name != "GF-MH")
    found = [Control(name=script, script=script) for script in SCRIPTS]
    for number in range(count):
        seed, place = divmod(number, len(names))
        length = max(1, round(steps * LENGTHS[seed % len(LENGTHS)]))
        model = f"{names[place]}@{SCALE}"
        found.append(Control(name=f"{model} seed {seed}, {length} steps", model=model, seed=seed, steps=length))
    return found


def folder(steps: int) -> Path:
    """Where trained controls and results are kept: in a folder for all that can change them beside their names.

    That is the source, the suites that ask, and the versions of Python, whose reference text is read, and of torch.

    Args:
        steps: Of the trainings.
    """
    digest = hashlib.sha256(f"{source_hash()} {sys.version_info[:3]} {version('torch')}".encode())
    for path in sorted(suites_dir().glob("*.py")):
        digest.update(path.read_bytes())
    return cache_dir() / "prove" / f"{digest.hexdigest()[:16]}-{steps}"


def load(control: Control, place: Path, fault: str | None = None, baseline: bool = False) -> Any:
    """A control, trained if it is not yet, or the same with a fault.

    Args:
        control: Which.
        place: From `folder`.
        fault: Name of a fault to plant in it when it is trained.
        baseline: Also train the GPT2 that L5 compares it with.

    Raises:
        ValueError: If the fault cannot be in it.
        FloatingPointError: If its training broke off.
    """
    import torch

    from gt import scripted

    clear()  # a training must not meet the fault of the subject before
    torch.set_num_threads(1)  # several processes share the machine
    if control.script:
        return {"listener": scripted.listener, "reader": scripted.reader}[control.script](control.seed, fault)
    from gt.subject import SubjectRequest, load_subject, plan_subject

    path = _trained(control, place)
    if baseline:
        _trained(msgspec.structs.replace(control, model=f"GPT2@{SCALE}"), place)
    request = SubjectRequest(model=control.model, ckpt=str(path), device="cpu", seed=control.seed, sabotage=fault)
    subject = load_subject(plan_subject(request), lambda done, total, note: None)
    if fault is None or SABOTAGES[fault].planted_in != "surroundings":
        # All read the same text with the same tokenizer, and encoding it costs more than most checks.
        key = (subject.corpus.sha256, subject.tokenizer.sha256)
        if key not in _streams:
            _streams[key] = (subject.train_tokens, subject.valid_tokens)
        train_tokens, valid_tokens = _streams[key]
        vars(subject).update(train_tokens=train_tokens, valid_tokens=valid_tokens)
    return subject


_streams: dict[tuple[str, str], tuple[TokenStream, TokenStream]] = {}


def _trained(control: Control, place: Path) -> Path:
    """The checkpoint of a control; of several processes one trains it, the others wait."""
    from gt.training.config import TrainConfig
    from gt.training.loop import train

    path = place / f"{control.model}-seed-{control.seed}"
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / f"{path.name}.lock"):
        if not _is_complete(path, control.steps):
            prose, tokenizer = _text(place)
            config = TrainConfig(
                model=control.model,
                corpus=(str(prose),),
                tokenizer=str(tokenizer),
                out=str(path),
                device="cpu",
                steps=control.steps,
                batch_size=BATCH_SIZE,
                length=LENGTH,
                lr=LR,
                seed=control.seed,
                log_every=LOG_EVERY,
                eval_every=control.steps,
                keep_state=False,
                overwrite=True,
                allow_leaks=True,  # the reference text says some things in several places
            )
            train(config)
    return path


def _is_complete(path: Path, steps: int) -> bool:
    """Whether a checkpoint is there and was not left by a training that was stopped."""
    try:
        return inspect_checkpoint(path, resolve(path.name.partition("-seed-")[0])).step == steps
    except ValueError:
        return False


def _text(place: Path) -> tuple[Path, Path]:
    """The reference text as a file, and a tokenizer of it."""
    from gt.checkpoint import write_bytes
    from gt.data.corpus import python_reference
    from gt.tokenizers import train_tokenizer

    prose, tokenizer = place / "prose.txt", place / "tokenizer.json"
    with FileLock(place / "text.lock"):
        if not tokenizer.is_file():
            text = python_reference()
            write_bytes(prose, "\n<|endoftext|>\n".join(text.train).encode())
            train_tokenizer(text.train, "bpe", VOCAB_SIZE, tokenizer)
    return prose, tokenizer
