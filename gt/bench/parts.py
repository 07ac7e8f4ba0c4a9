"""Where the time of a training step goes: forward and backward time of every part of a model."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gt.bench.record import Part
from gt.subject import Subject
from gt.training.mini import CLIP, LR
from gt.training.optim import make_optimizer, train_step

WARMUP_STEPS = 3
LOSS, OPTIMIZER, HEAD, NORMS, REST = "loss", "optimizer", "head", "norms", "rest"


class _Timeline:
    """Which part ran since when. A mark ends the part before it: marks cost microseconds, on a GPU they are events."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self.marks: list[tuple[str, Any]] = []

    def mark(self, part: str) -> None:
        moment: Any
        if self._cuda:
            moment = torch.cuda.Event(enable_timing=True)
            moment.record()
        else:
            moment = time.perf_counter()
        self.marks.append((part, moment))

    def relabel(self, part: str) -> None:
        """The time since the last mark belonged to another part."""
        self.marks[-1] = (part, self.marks[-1][1])

    def seconds(self) -> dict[str, float]:
        """Time of each part between the first mark and the last."""
        if self._cuda:
            torch.cuda.synchronize()
        found: dict[str, float] = defaultdict(float)
        for (part, start), (_, end) in zip(self.marks, self.marks[1:], strict=False):
            found[part] += start.elapsed_time(end) / 1e3 if self._cuda else end - start
        return found


def parts_of(model: nn.Module) -> dict[str, list[nn.Module]]:
    """The parts of a model by name: its children, and in place of a list of blocks the children of the blocks.

    Whatever is called a norm is one part.
    """
    found: dict[str, list[nn.Module]] = defaultdict(list)
    for name, child in model.named_children():
        blocks = list(child) if isinstance(child, nn.ModuleList) else []
        for own, module in [pair for block in blocks for pair in block.named_children()] or [(name, child)]:
            found[NORMS if "norm" in own or own.startswith("ln") else own].append(module)
    return dict(found)


def step_parts(subject: Subject, batch: int, length: int, steps: int) -> tuple[Part, ...]:
    """Share of the training step that each part takes, forward and backward together, largest first.

    The forward pass is divided by hooks on the modules. In the backward pass a part begins when the gradient of its
    output is complete and ends when that of the part before it is: autograd runs later parts first, one at a time.
    "head" is what follows the last module in the forward pass (a tied head is no module); "loss" includes the
    release of the last gradients, "optimizer" the clipping; "rest" is what lies between the modules.

    Args:
        subject: Its model is trained by this.
        batch: Sequences per step.
        length: Tokens per sequence.
        steps: Steps to take the median of.
    """
    optimizer = make_optimizer(subject.model, LR)
    generator = torch.Generator().manual_seed(subject.seed)
    shape = (batch, length + 1)
    by_step: list[dict[str, float]] = []
    for step in range(WARMUP_STEPS + steps):
        tokens = torch.randint(subject.tokenizer.vocab_size, shape, generator=generator).to(subject.device)
        timeline = _Timeline(subject.device)
        with _hooks(subject.model, optimizer, timeline):
            timeline.mark(REST)
            train_step(subject.model, optimizer, tokens, CLIP, halves=False)  # two at once have no one timeline
            timeline.mark(REST)
        if step >= WARMUP_STEPS:
            by_step.append(timeline.seconds())
    names = {name for seconds in by_step for name in seconds}
    medians = {name: statistics.median(seconds.get(name, 0.0) for seconds in by_step) for name in names}
    whole = sum(medians.values())
    return tuple(
        Part(name=name, share=seconds / whole, ms=1e3 * seconds)
        for name, seconds in sorted(medians.items(), key=lambda item: -item[1])
    )


@contextmanager
def _hooks(model: nn.Module, optimizer: torch.optim.Optimizer, timeline: _Timeline) -> Iterator[None]:
    handles: list[Any] = []
    waiting = {id(p) for p in model.parameters() if p.requires_grad}

    def begin(part: str) -> Any:
        return lambda module, args: timeline.mark(part)

    def end(part: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            timeline.mark(REST)
            _when_gradient_is_complete(output, lambda: timeline.mark(part))

        return hook

    def model_ends(module: nn.Module, args: Any, output: Any) -> None:
        timeline.relabel(HEAD)
        timeline.mark(LOSS)
        _when_gradient_is_complete(output, lambda: timeline.mark(HEAD))

    def accumulated(parameter: Tensor) -> None:
        waiting.discard(id(parameter))
        if not waiting:
            timeline.mark(OPTIMIZER)

    for part, modules in parts_of(model).items():
        for module in modules:
            handles.append(module.register_forward_pre_hook(begin(part)))
            handles.append(module.register_forward_hook(end(part)))
    handles.append(model.register_forward_hook(model_ends))
    for parameter in model.parameters():
        if parameter.requires_grad:
            handles.append(parameter.register_post_accumulate_grad_hook(accumulated))
    # Where a parameter gets no gradient, clipping goes to the part before and the optimiser begins here.
    handles.append(optimizer.register_step_pre_hook(lambda *arguments: timeline.mark(OPTIMIZER)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _when_gradient_is_complete(output: Any, call: Callable[[], None]) -> None:
    """Call when autograd reaches a module's output: the tensor, or the first of several."""
    tensor = output[0] if isinstance(output, tuple | list) else output
    if isinstance(tensor, Tensor) and tensor.requires_grad:
        tensor.register_hook(lambda gradient: call())
