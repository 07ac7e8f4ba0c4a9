"""Training on the CPU: a whole mixer or block in one call each way of our own kernels (`cpp/layers.cpp`).

The readable forms are the `forward` of `RWKV6TimeMix`, `Mamba2` and `Block`; those call these where they can run.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gt.compiler import SOURCES, library
from gt.kernels import native
from gt.kernels.derivatives import first_only
from gt.kernels.native_step import (
    BLOCK,
    MAMBA2,
    RWKV6,
    Sizes,
    Table,
    addresses,
    block_weights,
    mamba2_sizes,
    mamba2_weights,
    of_blocks,
    part_of,
    ready,
    rwkv6_sizes,
    rwkv6_weights,
)

if TYPE_CHECKING:
    from gt.models.hybrid import Activations, Block
    from gt.models.mamba2 import Mamba2
    from gt.models.rwkv6 import RWKV6TimeMix
    from gt.models.state import LayerState


def usable(x_BTC: Tensor, ops: tuple[str, ...]) -> bool:
    """Whether a part of a model that is made of these ops can be differentiated in one call.

    Only where each op would run on the native backend itself: one that is forced or replaced stays in charge.
    """
    return (
        torch.is_grad_enabled()
        and x_BTC.ndim == 3
        and x_BTC.shape[1] > 0
        and x_BTC.dtype == torch.float32
        and x_BTC.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and ready("layers", ops)
    )


def _weights(module: nn.Module, names: tuple[str, ...], shapes: Sizes, layers: int = 1) -> tuple[Tensor, ...] | None:
    """The weights in the order of the names; None where the parts of the module must run themselves."""
    part = part_of(module, names, layers)
    if part.table(shapes) is None or part.hooked_backward():
        return None
    return part.weights if all(weight.requires_grad for weight in part.weights) else None


def addresses_of(*parts: tuple[str, str]) -> Table:
    """Where the forward and the backward function of each kernel (source, name) are, for a library that calls them."""
    called = [
        ctypes.cast(getattr(library(SOURCES / f"{source}.cpp"), f"{part}_{way}"), ctypes.c_void_p)
        for source, part in parts
        for way in ("forward", "backward")
    ]
    return (ctypes.c_void_p * len(called))(*called)


@cache
def introduce() -> None:
    """Tell `cpp/layers.cpp`, before anything else there is called, where the kernels are that it calls."""
    parts = (("wkv6", "wkv6"), ("ssd", "ssd"), ("conv", "conv"), ("fused", "rms_norm"), ("fused", "group_norm"))
    native.function("layers", "layers_use", (), 1)(addresses_of(*parts), 0)


@cache
def _function(name: str, sizes: tuple[type, ...], arguments: int) -> Callable[..., None]:
    introduce()
    return native.function("layers", name, sizes, arguments)


def _call(name: str, sizes: tuple[int | float, ...], *arguments: Tensor | Table | None) -> None:
    run = _function(name, tuple(map(type, sizes)), len(arguments))
    at = (a.data_ptr() if isinstance(a, Tensor) else None if a is None else ctypes.addressof(a) for a in arguments)
    run(*sizes, *at, torch.get_num_threads())


def _gradient_of_state(gstate: Tensor | None, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """The gradient of a final state, in memory that may be written to."""
    return like.new_zeros(shape) if gstate is None else gstate.clone(memory_format=torch.contiguous_format)


def _apply(function: Any, *inputs: Any) -> Any:
    return function.apply(*inputs)


def _mixer_backward(
    name: str, ctx: Any, gout: Tensor | None, gstate: Tensor | None, *gseen: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Gradients of all that a mixer's forward pass was given."""
    x, kept, *weights = ctx.saved_tensors
    gout = torch.zeros_like(x) if gout is None else gout.contiguous()
    gx, gradients = torch.empty_like(x), [torch.empty_like(weight) for weight in weights]
    tables = addresses(weights), addresses(gradients)
    _call(name, ctx.sizes, *tables, x, kept, gout, _gradient_of_state(gstate, ctx.state_shape, x), *gseen, gx)
    return None, None, gx, *gradients


def _rwkv6_kept(rows: int, C: int, H: int, R: int, Q: int) -> int:
    return rows * (12 * C + 5 * R + Q + 2 * H)


def _mamba2_kept(B: int, T: int, E: int, P: int, G: int, N: int, W: int) -> int:
    return B * T * (4 * E + 2 * G * N + E // P + 1) + B * (T + W - 1) * (E + 2 * G * N)


class _RWKV6Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, sizes: tuple[int, int, int], eps: float, x: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        B, T, C = x.shape
        H = sizes[0]
        ctx.sizes, ctx.state_shape = (B, T, C, *sizes), (B, H, C // H, C // H)
        kept = x.new_empty(_rwkv6_kept(B * T, C, *sizes))
        out, state = torch.empty_like(x), x.new_empty(ctx.state_shape)
        _call("rwkv6_layer_forward", (*ctx.sizes, eps), addresses(weights), x, kept, out, state)
        ctx.save_for_backward(x, kept, *weights)
        ctx.set_materialize_grads(False)
        return out, state

    @staticmethod
    @first_only
    def backward(ctx: Any, gout: Tensor | None, gstate: Tensor | None) -> tuple[Tensor | None, ...]:
        return _mixer_backward("rwkv6_layer_backward", ctx, gout, gstate)


def rwkv6(mixer: RWKV6TimeMix, x_BTC: Tensor) -> tuple[Tensor, LayerState] | None:
    """`RWKV6TimeMix.forward` from the start of a text: output [B, T, C] and the state; None if its parts must run."""
    sizes = rwkv6_sizes(mixer)
    weights = _weights(mixer, RWKV6, rwkv6_weights(x_BTC.shape[-1], *sizes))
    if weights is None:
        return None
    out, state = _apply(_RWKV6Layer, sizes, mixer.ln_x.eps, x_BTC.contiguous(), *weights)
    return out, {"rwkv_state": state, "rwkv_shift": x_BTC[:, -1].clone()}


class _Mamba2Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, sizes: tuple[int, int, int, int, int], eps: float, x: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        B, T, C = x.shape
        E, P, G, N, W = sizes
        ctx.sizes, ctx.state_shape = (B, T, C, *sizes), (B, E // P, P, N)
        kept = x.new_empty(_mamba2_kept(B, T, *sizes))
        out, state = torch.empty_like(x), x.new_empty(ctx.state_shape)
        conv_state = x.new_empty(B, E + 2 * G * N, W - 1)
        _call("mamba2_layer_forward", (*ctx.sizes, eps), addresses(weights), x, kept, out, state, conv_state)
        ctx.save_for_backward(x, kept, *weights)
        ctx.set_materialize_grads(False)
        return out, state, conv_state

    @staticmethod
    @first_only
    def backward(
        ctx: Any, gout: Tensor | None, gstate: Tensor | None, gconv_state: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        gconv_state = None if gconv_state is None else gconv_state.contiguous()
        return _mixer_backward("mamba2_layer_backward", ctx, gout, gstate, gconv_state)


def mamba2(mixer: Mamba2, x_BTC: Tensor) -> tuple[Tensor, LayerState] | None:
    """`Mamba2.forward` from the start of a text: output [B, T, C] and the state; None if its parts must run."""
    sizes = mamba2_sizes(mixer)
    weights = _weights(mixer, MAMBA2, mamba2_weights(x_BTC.shape[-1], *sizes))
    if weights is None:
        return None
    out, state, conv_state = _apply(_Mamba2Layer, sizes, mixer.norm.eps, x_BTC.contiguous(), *weights)
    return out, {"mamba_state": state, "mamba_conv": conv_state}


def block_kept(B: int, T: int, C: int, H: int, R: int, Q: int, E: int, P: int, G: int, N: int, W: int, F: int) -> int:
    """Numbers that a block keeps for its backward pass."""
    return _rwkv6_kept(B * T, C, H, R, Q) + _mamba2_kept(B, T, E, P, G, N, W) + B * T * (3 * C + 2 + 2 * F)


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, sizes: tuple[int, ...], epsilons: tuple[float, float, float], x: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        B, T, C = x.shape
        H, _, _, E, P, G, N, W, _ = sizes
        ctx.sizes = (B, T, C, *sizes)
        ctx.state_shapes = (B, H, C // H, C // H), (B, E // P, P, N)
        size = x.new_empty
        kept = size(block_kept(*ctx.sizes))
        out, rwkv_out, mamba_out = (torch.empty_like(x) for _ in range(3))
        gates, shift, conv_state = size(B, T, 1), size(B, C), size(B, E + 2 * G * N, W - 1)
        states = [size(shape) for shape in ctx.state_shapes]
        outputs = (out, rwkv_out, mamba_out, gates, shift, *states, conv_state)
        _call("block_forward", (*ctx.sizes, *epsilons), addresses(weights), x, kept, *outputs)
        ctx.save_for_backward(x, kept, rwkv_out, mamba_out, gates, *weights)
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    @first_only
    def backward(ctx: Any, *goutputs: Tensor | None) -> tuple[Tensor | None, ...]:
        x, kept, rwkv_out, mamba_out, gates, *weights = ctx.saved_tensors
        gout, *gseen, grwkv, gmamba, gconv_state = (None if g is None else g.contiguous() for g in goutputs)
        gstates = [
            _gradient_of_state(gstate, shape, x)
            for gstate, shape in zip((grwkv, gmamba), ctx.state_shapes, strict=True)
        ]
        gx, gradients = torch.empty_like(x), [torch.empty_like(weight) for weight in weights]
        _call(
            "block_backward",
            ctx.sizes,
            *(addresses(weights), addresses(gradients), x, kept, rwkv_out, mamba_out, gates),
            *(torch.zeros_like(x) if gout is None else gout, *gseen, *gstates, gconv_state, gx),
        )
        return None, None, gx, *gradients


def block(block: Block, x_BTC: Tensor) -> tuple[Tensor, LayerState, Activations] | None:
    """`Block.forward` from the start of a text, of both mixers with one gate; None if its parts must run."""
    known = _sizes_of_block(block)
    weights = None if known is None else _weights(block, BLOCK, block_weights(x_BTC.shape[-1], *known[0]))
    if known is None or weights is None:
        return None
    out, *seen, shift, rwkv_state, mamba_state, conv_state = _apply(_Block, *known, x_BTC.contiguous(), *weights)
    state = {"rwkv_state": rwkv_state, "rwkv_shift": shift, "mamba_state": mamba_state, "mamba_conv": conv_state}
    return out, state, dict(zip(("rwkv_out", "mamba_out", "gate"), seen, strict=True))


def _sizes_of_block(block: Block) -> tuple[tuple[int, ...], tuple[float, float, float]] | None:
    """Sizes and epsilons of a block of both mixers; None where it has others than the compiled form knows."""
    rwkv, mamba = block.rwkv, block.mamba
    if rwkv is None or mamba is None or mamba.norm.groups > 1 or block.mix_norm.eps != block.ffn_norm.eps:
        return None
    sizes = (*rwkv6_sizes(rwkv), *mamba2_sizes(mamba), block.ffn.up.out_features)
    return sizes, (rwkv.ln_x.eps, mamba.norm.eps, block.mix_norm.eps)


Alike = tuple[tuple[int, ...], tuple[float, float, float], tuple[Tensor, ...]]
"""Sizes and epsilons of each block, and the weights of all in order."""


def alike(blocks: nn.ModuleList, C: int) -> Alike | None:
    """What a compiled model reads of its blocks of width C; None if they differ or must run themselves."""
    found = [_sizes_of_block(block) for block in blocks]  # type: ignore[arg-type]  # the model holds blocks
    if not found or found[0] is None or any(one != found[0] for one in found):
        return None
    weights = _weights(blocks, of_blocks(len(blocks)), block_weights(C, *found[0][0]), len(blocks))
    return None if weights is None else (*found[0], weights)
