"""The optimiser, its schedule and one step: shared by `groundthink train` and by the checks that train."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache

import torch
from torch import Tensor, nn

from gt import kernels


def next_token_loss(model: nn.Module, tokens_BT: Tensor) -> Tensor:
    """Mean cross-entropy of every token but the first, in nats."""
    logits = model(tokens_BT[:, :-1])
    return kernels.cross_entropy(logits.flatten(0, 1), tokens_BT[:, 1:].flatten())


def make_optimizer(model: nn.Module, lr: float | Tensor, weight_decay: float = 0.0) -> torch.optim.AdamW:
    """AdamW with betas 0.9 and 0.95; decays matrices (two dimensions, embedding included), not vectors.

    Args:
        model: Its parameters are optimised.
        lr: Learning rate; a tensor where a captured graph must see it change.
        weight_decay: Decoupled weight decay of the matrices.
    """
    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    on_gpu = next(model.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True, capturable=on_gpu)


def cosine_schedule(step: int, steps: int, peak: float, warmup_ratio: float, final_ratio: float) -> float:
    """Learning rate of a step (from 0): linear warm-up, then a cosine down to `final_ratio` of the peak."""
    warmup = max(1, round(steps * warmup_ratio))
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (final_ratio + (1 - final_ratio) * 0.5 * (1 + math.cos(math.pi * progress)))


def loss_and_gradients(model: nn.Module, tokens_BT: Tensor, halves: bool = True) -> Tensor:
    """The loss [], with its gradient in every parameter's `grad` (None where it does not reach).

    On a CPU the two halves of a batch are computed side by side, each by one thread: a model of this size is thousands
    of small operations, and sharing out each of them costs more than it saves, ten times more on a busy machine.
    Only models that say so (`thread_safe`) are called from two threads; for another, a call may change the module
    (statistics, random numbers drawn in an order). `halves=False` computes any as one.
    """
    if not (halves and getattr(model, "thread_safe", False) and tokens_BT.device.type == "cpu" and len(tokens_BT) > 1):
        loss = next_token_loss(model, tokens_BT)
        model.zero_grad(set_to_none=True)
        loss.backward()
        return loss.detach()
    model.zero_grad(set_to_none=True)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    threads, autocast = torch.get_num_threads(), torch.is_autocast_enabled("cpu")
    autocast_dtype = torch.get_autocast_dtype("cpu")

    def part(rows_BT: Tensor) -> tuple[Tensor, list[Tensor | None]]:
        torch.set_num_threads(1)
        # A thread begins with gradients on and without autocast.
        with torch.autocast("cpu", autocast_dtype, enabled=autocast):
            loss = next_token_loss(model, rows_BT) * (len(rows_BT) / len(tokens_BT))
            return loss.detach(), list(torch.autograd.grad(loss, parameters, allow_unused=True))

    running = [_halves().submit(part, rows_BT) for rows_BT in tokens_BT.tensor_split(2)]
    try:
        first, second = (half.result() for half in running)
    finally:
        wait(running)  # nobody goes on, not even with an error, while the model is at work
        torch.set_num_threads(threads)  # a worker's own number became that of the process
    for parameter, a, b in zip(parameters, first[1], second[1], strict=True):
        parameter.grad = a.add_(b) if a is not None and b is not None else a if b is None else b
    return first[0] + second[0]


@cache
def _halves() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2, thread_name_prefix="half-batch")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_halves.cache_clear)  # threads do not survive a fork


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, tokens_BT: Tensor, clip: float, halves: bool = True
) -> tuple[Tensor, Tensor]:
    """One step of gradient descent; `halves` as in `loss_and_gradients`.

    Returns:
        The loss, and the global gradient norm before clipping; scalars on the model's device.
    """
    loss = loss_and_gradients(model, tokens_BT, halves)
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss, norm.detach()


def captured_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, example_BT: Tensor, clip: float
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """`train_step` recorded once as a CUDA graph: at these sizes launching kernels costs more than running them.

    The parameters are left as they were. Every batch must have the shape of the example.

    Raises:
        ValueError: If the optimiser has been used: the steps that warm up for the recording would spoil its state.
    """
    if optimizer.state:
        raise ValueError("the optimiser has stepped already: record the step with a new one, then load its state")
    before = [p.detach().clone() for p in model.parameters()]
    static_BT = example_BT.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # warm-up outside the graph, as capturing requires
        for _ in range(3):
            train_step(model, optimizer, static_BT, clip)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss, norm = train_step(model, optimizer, static_BT, clip)
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), before, strict=True):
            parameter.copy_(value)
        for state in optimizer.state.values():
            for value in state.values():
                if isinstance(value, Tensor):
                    value.zero_()

    # The graph knows addresses, not tensors: what it writes to must live as long as the step can be called.
    def step(tokens_BT: Tensor, kept: tuple[object, ...] = (model, optimizer)) -> tuple[Tensor, Tensor]:
        static_BT.copy_(tokens_BT)
        graph.replay()
        return loss, norm

    return step
