"""Training on the CPU: a whole model's loss and gradients in one call of our own kernels (`cpp/model.cpp`).

The readable form is autograd through `gt.training.optim.next_token_loss`, which runs wherever this cannot.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from gt.kernels import native, native_layers
from gt.kernels.native_step import BLOCK_OPS, Table, addresses, readable, ready

if TYPE_CHECKING:
    from gt.models.hybrid import HybridLM

OPS = (*BLOCK_OPS, "cross_entropy")
HEAD_TOKENS, HEAD_WORDS = 256, 256  # ROWS and WORDS of cpp/model.cpp

_work: WeakKeyDictionary[nn.Module, Tensor] = WeakKeyDictionary()


def usable(tokens_BT: Tensor) -> bool:
    """Whether a model that is made of our ops can be differentiated on these tokens in one call.

    Only where each op would run on the native backend itself: one that is forced or replaced stays in charge.
    """
    return (
        torch.is_grad_enabled()
        and tokens_BT.ndim == 2
        and tokens_BT.shape[0] > 0
        and tokens_BT.shape[1] > 1
        and tokens_BT.dtype == torch.int64
        and tokens_BT.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and ready("layers", OPS)
        and ready("model", OPS)
    )


def loss_and_gradients(model: HybridLM, tokens_BT: Tensor, halves: bool) -> tuple[Tensor, dict[Tensor, Tensor]] | None:
    """The mean cross-entropy of every token but the first [], and the gradients of a model of blocks with one gate.

    Args:
        model: Its blocks are alike, and nothing waits for what passes between its parts.
        tokens_BT: Token ids, at least two in a row.
        halves: Compute the halves of the batch side by side, each by one thread.

    Returns:
        Loss and gradients, or None where the parts of the model must run themselves.
    """
    embedding, norm = model.embedding.weight, model.norm.weight
    (V, C), (low, high) = embedding.shape, (int(bound) for bound in torch.aminmax(tokens_BT))
    blocks = native_layers.alike(model.blocks, C)
    if blocks is None or low < 0 or high >= V or not _plain(model):
        return None  # the readable form says what is wrong with a token
    sizes, epsilons = blocks[0], (*blocks[1], model.norm.eps)
    weights: tuple[Tensor, ...] = (*blocks[2], embedding, norm)
    if any(weight._backward_hooks or weight._post_accumulate_grad_hooks for weight in weights):
        return None
    (B, T), L = (len(tokens_BT), tokens_BT.shape[1] - 1), len(model.blocks)
    parts, threads = 2 if halves and B > 1 else 1, torch.get_num_threads()
    kept, room = _room((B + parts - 1) // parts, T, C, L, V, threads, *sizes)
    count = sum(weight.numel() for weight in weights)
    needed = parts * room + (parts - 1) * count
    # Kept from step to step, since new memory costs as much as the loss does, and gone with the model.
    work = _work.pop(model, None)
    if work is None or work.numel() != needed:
        work = torch.empty(needed, dtype=torch.float32)
    tokens, (loss, gradients) = tokens_BT.contiguous(), (work.new_empty(size) for size in ((), count))
    starts = [gradients, *work[parts * room :].split(count)]
    tables = addresses(weights), _table(starts, [weight.numel() for weight in weights])
    numbers = parts, B, T, C, *sizes, L, V, kept, room, count, *epsilons
    tensors = tuple(tensor.data_ptr() for tensor in (tokens, work, loss))
    _function(tuple(map(type, numbers)))(*numbers, *map(ctypes.addressof, tables), *tensors, threads)
    _work[model] = work
    pieces = gradients.split([weight.numel() for weight in weights])
    return loss, {weight: piece.view_as(weight) for weight, piece in zip(weights, pieces, strict=True)}


def _plain(model: HybridLM) -> bool:
    """Whether the model, its embedding and its norm are as they were built; what its blocks are made of is known."""
    embedding, norm = model.embedding, model.norm
    weights = embedding.weight, norm.weight
    return (
        _OWN.isdisjoint(model.__dict__)
        and type(embedding) is nn.Embedding
        and (embedding.padding_idx, embedding.max_norm, embedding.scale_grad_by_freq, embedding.sparse) == _NO_EXTRAS
        and norm.groups == 1
        and norm.weight.shape == embedding.weight.shape[1:]
        and all(weight.requires_grad and readable(weight) for weight in weights)
        and not any(map(_has_hooks, (model, embedding, norm)))
    )


def _has_hooks(module: nn.Module) -> bool:
    forward = "forward" in module.__dict__ or module._forward_hooks or module._forward_pre_hooks
    return bool(forward or module._backward_hooks or module._backward_pre_hooks)


_OWN = frozenset({"forward", "embed", "run_blocks", "read_out"})
_NO_EXTRAS = (None, None, False, False)


def _table(starts: Sequence[Tensor], sizes: Sequence[int]) -> Table:
    """Where the gradients of these sizes lie, one after the other from each start on."""
    at: list[int] = []
    for start in starts:
        address = start.data_ptr()
        for size in sizes:
            at.append(address)
            address += 4 * size
    return (ctypes.c_void_p * len(at))(*at)


def _room(
    B: int,
    T: int,
    C: int,
    L: int,
    V: int,
    threads: int,
    H: int,
    R: int,
    Q: int,
    E: int,
    P: int,
    G: int,
    N: int,
    W: int,
    F: int,
) -> tuple[int, int]:
    """Numbers that a block keeps for its backward pass, and that a model needs in all."""
    rows = B * T
    kept = native_layers.block_kept(B, T, C, H, R, Q, E, P, G, N, W, F)
    states = B * C * (1 + C // H) + B * E * N + B * (E + 2 * G * N) * (W - 1)
    most = min(rows, HEAD_TOKENS)
    head = most * (V + -(-V // HEAD_WORDS) + 3)
    return kept, L * (kept + rows * (3 * C + 1)) + rows * (5 * C + 1) + states + threads * C + head


@cache
def _function(types: tuple[type, ...]) -> Callable[..., None]:
    """`model_gradients` of `cpp/model.cpp`, which is told first where the kernels are that it calls."""
    native_layers.introduce()
    native.function("model", "model_use", (), 1)(
        native_layers.addresses_of(("layers", "block"), ("fused", "rms_norm")), 0
    )
    return native.function("model", "model_gradients", types, 5)
