"""The optimiser, its schedule and one step: shared by `groundthink train` and by the checks that train."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gt import kernels
from gt.models.hybrid import HybridLM

NORM_PIECE = 2**16

RowsLoss = Callable[[slice], tuple[Tensor, Tensor]]
"""Of some rows of a batch: what is differentiated and what is reported, each as its part of the whole batch's."""

BETAS = (0.9, 0.95)


def next_token_loss(model: nn.Module, tokens_BT: Tensor, weights_BT: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of every token but the first, in nats; with weights [B, T - 1] the weighted mean."""
    logits = model(tokens_BT[:, :-1])
    weights = None if weights_BT is None else weights_BT.flatten()
    return kernels.cross_entropy(logits.flatten(0, 1), tokens_BT[:, 1:].flatten(), weights)


def make_optimizer(model: nn.Module, lr: float | Tensor, weight_decay: float = 0.0) -> torch.optim.AdamW:
    """AdamW with betas 0.9 and 0.95; decays matrices (two dimensions, embedding included), not vectors.

    Args:
        model: Its parameters are optimised.
        lr: Learning rate; a tensor where a captured graph must see it change.
        weight_decay: Decoupled weight decay of the matrices.
    """
    return adamw(split_by_decay(model.parameters(), weight_decay), lr)


def split_by_decay(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for the optimiser: matrices, which decay, and all others."""
    every = list(parameters)
    matrices, others = [p for p in every if p.ndim == 2], [p for p in every if p.ndim != 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def adamw(groups: list[dict[str, Any]], lr: float | Tensor) -> torch.optim.AdamW:
    """AdamW over groups of parameters that lie on one device; a captured graph can hold its step on a GPU."""
    on_gpu = any(parameter.is_cuda for group in groups for parameter in group["params"])
    return torch.optim.AdamW(groups, lr=lr, betas=BETAS, fused=True, capturable=on_gpu)


def cosine_schedule(step: int, steps: int, peak: float, warmup_ratio: float, final_ratio: float) -> float:
    """Learning rate of a step (from 0): linear warm-up, then a cosine down to `final_ratio` of the peak."""
    warmup = max(1, round(steps * warmup_ratio))
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (final_ratio + (1 - final_ratio) * 0.5 * (1 + math.cos(math.pi * progress)))


def loss_and_gradients(model: nn.Module, tokens_BT: Tensor, halves: bool = True) -> Tensor:
    """The loss [], with its gradient in every parameter's `grad` (None where it does not reach).

    `halves` as in `add_gradients`.
    """

    def part(rows: slice) -> tuple[Tensor, Tensor]:
        part_BT = tokens_BT[rows]
        loss = next_token_loss(model, part_BT) * (len(part_BT) / len(tokens_BT))
        return loss, loss

    model.zero_grad(set_to_none=True)
    # A loss that has been replaced stays in charge.
    at_once = model.loss_and_gradients(tokens_BT, halves) if isinstance(model, HybridLM) and _is_own_loss() else None
    if at_once is None:
        return add_gradients(model, part, slice(0, len(tokens_BT)), tokens_BT.device, halves)
    loss, gradients = at_once
    for parameter, gradient in gradients.items():
        parameter.grad = gradient
    return loss


def _is_own_loss(own: object = next_token_loss) -> bool:
    return next_token_loss is own


def add_gradients(
    model: nn.Module, loss_of: RowsLoss, rows: slice, device: torch.device, halves: bool = True
) -> Tensor:
    """Add the gradient of some rows' loss to every parameter's `grad`; returns what is reported [].

    On a CPU the two halves of the rows are computed side by side, each by one thread: a model of this size is thousands
    of small operations, and sharing out each of them costs more than it saves, ten times more on a busy machine.
    Only models that say so (`thread_safe`) are called from two threads; for another, a call may change the module
    (statistics, random numbers drawn in an order). `halves=False` computes any as one.
    """
    count = rows.stop - rows.start
    if not (halves and getattr(model, "thread_safe", False) and device.type == "cpu" and count > 1):
        objective, reported = loss_of(rows)
        objective.backward()
        return reported.detach()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    threads, autocast = torch.get_num_threads(), torch.is_autocast_enabled("cpu")
    autocast_dtype = torch.get_autocast_dtype("cpu")

    def part(half: slice) -> tuple[Tensor, list[Tensor | None]]:
        torch.set_num_threads(1)
        # A thread begins with gradients on and without autocast.
        with torch.autocast("cpu", autocast_dtype, enabled=autocast):
            objective, reported = loss_of(half)
            return reported.detach(), list(torch.autograd.grad(objective, parameters, allow_unused=True))

    middle = rows.start + (count + 1) // 2
    running = [_halves().submit(part, half) for half in (slice(rows.start, middle), slice(middle, rows.stop))]
    try:
        first, second = (half.result() for half in running)
    finally:
        wait(running)  # nobody goes on, not even with an error, while the model is at work
        torch.set_num_threads(threads)  # a worker's own number became that of the process
    for parameter, a, b in zip(parameters, first[1], second[1], strict=True):
        gradient = a.add_(b) if a is not None and b is not None else a if b is None else b
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
    return first[0] + second[0]


@cache
def _halves() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2, thread_name_prefix="half-batch")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_halves.cache_clear)  # threads do not survive a fork


class Stepping(Protocol):
    """An optimiser, torch's or one of ours."""

    @property
    def state(self) -> Mapping[Any, Mapping[str, Any]]:
        """What it keeps of each parameter."""

    def step(self) -> Any:
        """Change the parameters by their gradients."""


def train_step(
    model: nn.Module, optimizer: Stepping, tokens_BT: Tensor, clip: float, halves: bool = True
) -> tuple[Tensor, Tensor]:
    """One step of gradient descent; `halves` as in `add_gradients`.

    Returns:
        The loss, and the global gradient norm before clipping; scalars on the model's device.
    """
    loss = loss_and_gradients(model, tokens_BT, halves)
    norm = clip_gradients(model, clip)
    optimizer.step()
    return loss, norm


@torch.no_grad()
def clip_gradients(model: nn.Module, clip: float) -> Tensor:
    """`clip_grad_norm_` of torch; gradients that make up one tensor are clipped as one, not one after the other.

    Returns:
        The global norm before clipping [].
    """
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    whole = gradients[0]._base if gradients else None
    count = sum(one.numel() for one in gradients)
    if whole is None or whole.numel() != count or any(one._base is not whole for one in gradients):
        before: Tensor = nn.utils.clip_grad_norm_(model.parameters(), clip)
        return before.detach()
    # In pieces, as of single tensors: one sum of millions of numbers in fp32 would be off in its fourth digit.
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(whole.split(NORM_PIECE))))
    whole.mul_((clip / (norm + 1e-6)).clamp(max=1.0))  # torch's own formula
    return norm


def captured_step(
    model: nn.Module, optimizer: Stepping, example_BT: Tensor, clip: float
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """`train_step` recorded once as a CUDA graph: at these sizes launching kernels costs more than running them.

    The parameters are left as they were. Every batch must have the shape of the example.

    Raises:
        ValueError: If the optimiser has been used: the steps that warm up for the recording would spoil its state.
    """
    return capture(lambda tokens_BT: train_step(model, optimizer, tokens_BT, clip), (example_BT,), model, optimizer)


def capture(
    function: Callable[..., tuple[Tensor, Tensor]],
    examples: tuple[Tensor, ...],
    model: nn.Module,
    optimizer: Stepping,
    changed: tuple[Tensor, ...] = (),
) -> Callable[..., tuple[Tensor, Tensor]]:
    """A training step as a CUDA graph, called with tensors of the shapes of the examples.

    Args:
        function: The step. Its outputs are overwritten by the next call.
        examples: Its arguments, on the GPU.
        model: Its parameters are left as they were.
        optimizer: Is left unused.
        changed: Further tensors that the step writes to; left as they were.

    Raises:
        ValueError: If the optimiser has been used: the steps that warm up for the recording would spoil its state.
    """
    if optimizer.state:
        raise ValueError("the optimiser has stepped already: record the step with a new one, then load its state")
    written = (*model.parameters(), *changed)
    before = [tensor.detach().clone() for tensor in written]
    static = tuple(example.clone() for example in examples)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # warm-up outside the graph, as capturing requires
        for _ in range(3):
            function(*static)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = function(*static)
    with torch.no_grad():
        for tensor, value in zip(written, before, strict=True):
            tensor.copy_(value)
        for state in optimizer.state.values():
            for value in state.values():
                if isinstance(value, Tensor):
                    value.zero_()

    # The graph knows addresses, not tensors: what it writes to must live as long as the step can be called.
    def step(*inputs: Tensor, kept: tuple[object, ...] = (model, optimizer, changed)) -> tuple[Tensor, Tensor]:
        for tensor, value in zip(static, inputs, strict=True):
            tensor.copy_(value, non_blocking=True)
        graph.replay()
        return outputs

    return step
