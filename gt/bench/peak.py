"""Measured memory of training steps: peak of the CUDA allocator, or growth of a fresh process on the CPU.

Run as `python -m gt.bench.peak` it is that process: a request as JSON on standard input, the result on standard output.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import torch

from gt import registry
from gt.machine import device_name
from gt.models.build import build_model
from gt.models.config import ModelConfig
from gt.models.hybrid import HybridLM
from gt.sabotage import plant
from gt.subject import SubjectRequest, load_subject, plan_subject
from gt.tokenizers import Tokenizer
from gt.training.mini import BATCH_SIZE, CLIP, LENGTH, LR
from gt.training.optim import make_optimizer, train_step
from gt.user_models import UserModel

STEPS = 3  # AdamW's moments are there from the second on
RETURNED = 65_536  # bytes of a block from which on the allocator hands it back as soon as it is freed
METHOD = f"growth of VmRSS to VmHWM, fresh process, MALLOC_MMAP_THRESHOLD_={RETURNED}"
WARMUP_MODEL = "GF@TINY"  # both mixers; small beside what is measured


class PeakRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure: training steps of a subject's model at a batch size and length, on so many threads.

    With `config`, a fresh model of that configuration takes the place of the subject's; with `own_vocab_size`, a
    fresh model of the user's own for that vocabulary.
    """

    subject: SubjectRequest
    batch: int
    length: int
    threads: int
    config: ModelConfig | None = None
    own_vocab_size: int = 0


class Peak(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes held at the peak beyond those before the model was built, and how they were read."""

    growth: int
    method: str


class PeakError(Exception):
    """There is no measurement, with the reason in one line."""


def measure(request: PeakRequest, device_type: str) -> Peak:
    """Peak memory of three training steps, model and optimiser included.

    Args:
        request: What to measure.
        device_type: "cpu" (in a fresh process) or "cuda" (in this one, after a step of another such model: kernels are
            tuned in it, and what the matrix library keeps from then on is allocated).

    Raises:
        PeakError: If there was not enough memory, or the process failed.
    """
    if device_type == "cuda":
        try:
            return _on_cuda(request)
        except torch.OutOfMemoryError:
            raise PeakError("does not fit: the GPU ran out of memory") from None
        finally:
            gc.collect()
            torch.cuda.empty_cache()
    # Modules of the user's are found where this process finds them.
    places = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-m", "gt.bench.peak"],
        input=msgspec.json.encode(request),
        capture_output=True,
        check=False,
        # Left to itself, glibc keeps what is freed, more or less of it by luck: a third of what a step holds.
        env={**os.environ, "PYTHONPATH": places, "MALLOC_MMAP_THRESHOLD_": str(RETURNED)},
    )
    if done.returncode < 0:
        raise PeakError(f"does not fit: the process was killed (signal {-done.returncode}), probably for its memory")
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise PeakError(f"the measuring process failed: {lines[-1] if lines else f'exit status {done.returncode}'}")
    return msgspec.json.decode(done.stdout, type=Peak)


def _on_cuda(request: PeakRequest) -> Peak:
    _train(request, 1)
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    _train(request, STEPS)
    torch.cuda.synchronize()
    return Peak(growth=torch.cuda.max_memory_allocated() - before, method="torch.cuda.max_memory_allocated")


def _on_cpu(request: PeakRequest) -> Peak:
    """Growth of this process, which must be fresh."""
    torch.set_num_threads(request.threads)
    tokenizer = Tokenizer(plan_subject(request.subject).tokenizer)
    _warm_up(tokenizer.vocab_size)
    gc.collect()
    before, method = _resident(peak=False)
    _forget_peak()
    _train(request, STEPS)
    return Peak(growth=_resident(peak=True)[0] - before, method=method)


def _warm_up(vocab_size: int) -> None:
    """Load what is loaded once for any model, which is no part of the growth.

    That is code, kernels, threads, and what the matrix library keeps for each of them, which goes by the largest
    product: the head's.
    """
    model = HybridLM(registry.resolve(WARMUP_MODEL).config(vocab_size))
    tokens_BT = torch.zeros(BATCH_SIZE, LENGTH + 1, dtype=torch.long)
    train_step(model, make_optimizer(model, LR), tokens_BT, CLIP)


def _train(request: PeakRequest, steps: int) -> None:
    """Build the model and train it."""
    device = torch.device(device_name(request.subject.device))
    if request.own_vocab_size:
        own = plan_subject(request.subject).spec
        if not isinstance(own, UserModel):
            raise ValueError(f"own_vocab_size was given for {own.name}: expected a model of the user's own")
        model, vocab_size = own.build(request.own_vocab_size).float().eval().to(device), request.own_vocab_size
    elif request.config is None:
        subject = load_subject(plan_subject(request.subject), lambda done, total, note: None)
        model, vocab_size, device = subject.model, subject.tokenizer.vocab_size, subject.device
    else:
        model, vocab_size = build_model(request.config).float(), request.config.vocab_size
        if request.subject.sabotage is not None:
            plant(request.subject.sabotage, model)
        model = model.to(device)
    torch.set_num_threads(request.threads)
    optimizer = make_optimizer(model, LR)
    shape = (request.batch, request.length + 1)
    for _ in range(steps):
        train_step(model, optimizer, torch.randint(vocab_size, shape, device=device), CLIP)


def _resident(*, peak: bool) -> tuple[int, str]:
    """Resident bytes of this process, now or at their peak, and where that was read."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text(encoding="ascii").splitlines() if ":" in line)
        return 1024 * int(fields["VmHWM" if peak else "VmRSS"].split()[0]), METHOD
    import resource

    # Without a way to read what is resident now, the peak of the start-up stands in: the growth is then a lower bound.
    unit = 1 if sys.platform == "darwin" else 1024
    used = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used, "growth of ru_maxrss, fresh process: a lower bound"


def _forget_peak() -> None:
    """Let the peak start from what is resident now (Linux: proc(5), clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass  # start-up needs little more than what stays: the peak of the steps lies above it


if __name__ == "__main__":
    sys.stdout.buffer.write(
        msgspec.json.encode(_on_cpu(msgspec.json.decode(sys.stdin.buffer.read(), type=PeakRequest)))
    )
