"""Decoding on the CPU: one token through a mixer or all blocks in one call of our own kernels (`cpp/step.cpp`).

The readable forms are the `forward` of `RWKV6TimeMix` and `Mamba2` and `run_blocks` of `BlockLM`; those of the same
models call these where they can run.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules import module as global_hooks

from gt.kernels import dispatch, native

if TYPE_CHECKING:
    from gt.models.hybrid import Activations, Block
    from gt.models.mamba2 import Mamba2
    from gt.models.rwkv6 import RWKV6TimeMix
    from gt.models.state import LayerState

RWKV6_OPS = ("wkv6", "token_mix", "gated_group_norm")
MAMBA2_OPS = ("ssd", "causal_conv1d", "rms_norm")
BLOCK_OPS = RWKV6_OPS + MAMBA2_OPS

# In the order in which cpp/step.cpp and cpp/layers.cpp read them.
RWKV6 = (
    *(f"time_maa_{name}" for name in "xwkvrg"),
    *("time_maa_w1", "time_maa_w2", "time_decay", "time_decay_w1", "time_decay_w2", "time_faaaa"),
    *("receptance.weight", "key.weight", "value.weight", "gate.weight", "output.weight", "ln_x.weight", "ln_x.bias"),
)
MAMBA2 = ("in_proj.weight", "conv1d.weight", "conv1d.bias", "dt_bias", "A_log", "D", "norm.weight", "out_proj.weight")
BLOCK = (
    *(f"rwkv.{name}" for name in RWKV6),
    *(f"mamba.{name}" for name in MAMBA2),
    *("mix_norm.weight", "fusion.gate.weight", "fusion.gate.bias"),
    *("ffn_norm.weight", "ffn.up.weight", "ffn.down.weight"),
)
_BLOCK_STATE = ("rwkv_shift", "rwkv_state", "mamba_conv", "mamba_state")

Table = ctypes.Array[ctypes.c_void_p]
"""Addresses of tensors."""

_known: dict[tuple[str, tuple[str, ...]], tuple[object, ...]] = {}


def usable(x_BTC: Tensor, ops: tuple[str, ...]) -> bool:
    """Whether one token can go through a part that is made of these ops in one call.

    Only where each op would run on the native backend itself: one that is forced or replaced stays in charge.
    """
    if (
        x_BTC.shape[1] != 1
        or x_BTC.shape[2] % 8
        or x_BTC.dtype != torch.float32
        or x_BTC.device.type != "cpu"
        or torch.is_grad_enabled()
    ):
        return False
    return ready("step", ops)


def ready(source: str, ops: tuple[str, ...]) -> bool:
    """Whether all of the ops would run on the native backend itself and the kernels of a source run here."""
    # Asked for every layer of every token: the answer is kept for as long as what it depends on is the same.
    now = (os.environ.get("GT_KERNELS"), *(dispatch.BACKENDS[op] for op in ops))
    known = _known.get((source, ops))
    if known is None or known[0] != now[0] or any(a is not b for a, b in zip(known[1:], now[1:], strict=False)):
        native_ops = all(dispatch.resolve(op, "cpu").backend.run is getattr(native, op) for op in ops)
        known = _known[source, ops] = (*now, native_ops and native.refused(source) is None)
    return known[-1] is True


class Part:
    """What compiled code reads of a module: found once, since looking up 33 weights takes longer than using them."""

    def __init__(self, module: nn.Module, names: tuple[str, ...], layers: int) -> None:
        self._children = [
            (parent._modules, name, child)
            for parent in module.modules()
            for name, child in parent._modules.items()
            if child is not None
        ]
        owners = ((module.get_submodule(owner), name) for owner, _, name in (n.rpartition(".") for n in names))
        found = [(owner._parameters, name, owner._parameters.get(name)) for owner, name in owners]
        self._weights = [(*each, 0 if each[2] is None else each[2].data_ptr()) for each in found]
        read = {(id(parameters), name) for parameters, name, _ in found}
        plain = all(
            (type(child) in _PLAIN or type(child).__module__.startswith("gt.models."))
            and all(p is None or (id(child._parameters), n) in read for n, p in child._parameters.items())
            for _, _, child in self._children
        )
        weights = [weight for _, _, weight in found if weight is not None and readable(weight)]
        self.weights = tuple(weights)
        shapes = [weight.shape for weight in weights]
        of_one = shapes[: len(names) // layers]
        self._shapes = tuple(of_one)
        alike = shapes == of_one * layers  # the step has one set of sizes for all layers
        known = plain and alike and len(weights) == len(names)
        self._table = (ctypes.c_void_p * len(weights))(*(w.data_ptr() for w in weights)) if known else None

    def changed(self) -> bool:
        """Whether a module or a weight has been replaced or moved since."""
        return any(children.get(name) is not child for children, name, child in self._children) or any(
            parameters.get(name) is not weight or (weight is not None and weight.data_ptr() != at)
            for parameters, name, weight, at in self._weights
        )

    def hooked_backward(self) -> bool:
        """Whether a hook waits for the gradient of a module's input or output."""
        return any(child._backward_hooks or child._backward_pre_hooks for _, _, child in self._children)

    def table(self, shapes: Sizes) -> Table | None:
        """Where the weights lie, or None where the parts of the module must run themselves.

        That is where one of them or every module has a hook, where one has another forward or a parameter that the
        step does not know, or where a weight does not lie in memory as the step reads it or has another shape than the
        one expected (of the first layer).
        """
        if self._shapes != shapes or any(_GLOBAL_HOOKS):
            return None
        for _, _, child in self._children:
            if "forward" in child.__dict__ or child._forward_hooks or child._forward_pre_hooks:
                return None
        return self._table


_PLAIN = {nn.Linear, nn.Conv1d, nn.GroupNorm}
_GLOBAL_HOOKS = (
    global_hooks._global_forward_hooks,
    global_hooks._global_forward_pre_hooks,
    global_hooks._global_backward_hooks,
    global_hooks._global_backward_pre_hooks,
)


def readable(tensor: Tensor) -> bool:
    """Whether compiled code can read a tensor where it lies."""
    return tensor.dtype is torch.float32 and tensor.is_cpu and tensor.is_contiguous()


Sizes = tuple[tuple[int, ...], ...]
Shapes = tuple[tuple[str, tuple[int, ...]], ...]


def _fits(state: LayerState, shapes: Shapes) -> bool:
    """Whether a state is what the step will read; the readable form says what is wrong with another."""
    for name, shape in shapes:
        tensor = state.get(name)
        if tensor is None or tensor.shape != shape or tensor.dtype is not torch.float32 or not tensor.is_cpu:
            return False
    return True


_parts: WeakKeyDictionary[nn.Module, Part] = WeakKeyDictionary()


def part_of(module: nn.Module, names: tuple[str, ...], layers: int = 1) -> Part:
    """What is known of a module, whose weights have these names."""
    part = _parts.get(module)
    if part is None or part.changed():
        part = _parts[module] = Part(module, names, layers)
    return part


def _weights(module: nn.Module, names: tuple[str, ...], shapes: Sizes, layers: int = 1) -> Table | None:
    return part_of(module, names, layers).table(shapes)


@cache
def rwkv6_weights(C: int, H: int, R: int, Q: int) -> Sizes:
    """Shapes of the weights of a mixer, in the order of `RWKV6`; none can have them if H does not divide C."""
    K, square = C // H, (H * (C // H), C)
    low_rank = (C, 5 * R), (5, R, C), (1, 1, C), (C, Q), (Q, C)
    return *((1, 1, C),) * 6, *low_rank, (H, K), *(square,) * 5, (C,), (C,)


@cache
def mamba2_weights(C: int, E: int, P: int, G: int, N: int, W: int) -> Sizes:
    """Shapes of the weights of a mixer, in the order of `MAMBA2`; none can have them if the heads do not fit."""
    channels, heads = E + 2 * G * N, E // P
    shared = heads // G * G  # all heads, where each group has as many
    return (E + channels + heads, C), (channels, 1, W), (channels,), *((shared,),) * 3, (heads * P,), (C, E)


@cache
def block_weights(C: int, *sizes: int) -> Sizes:
    """Shapes of the weights of a block, in the order of `BLOCK`."""
    F = sizes[-1]
    gate_and_norms = (C,), (1, 2 * C), (1,), (C,)
    return *rwkv6_weights(C, *sizes[:3]), *mamba2_weights(C, *sizes[3:8]), *gate_and_norms, (F, C), (C, F)


def addresses(tensors: Sequence[Tensor]) -> Table:
    """Where tensors lie."""
    return (ctypes.c_void_p * len(tensors))(*[tensor.data_ptr() for tensor in tensors])


def _call(name: str, sizes: tuple[int | float, ...], tables: Sequence[Table], *tensors: Tensor) -> None:
    run = native.function("step", name, tuple(map(type, sizes)), len(tables) + len(tensors))
    run(*sizes, *map(ctypes.addressof, tables), *[t.data_ptr() for t in tensors], torch.get_num_threads())


def rwkv6_sizes(mixer: RWKV6TimeMix) -> tuple[int, int, int]:
    """Heads and the ranks of mixing and of decay."""
    return mixer.num_heads, mixer.time_maa_w2.shape[1], len(mixer.time_decay_w2)


def _rwkv6_shapes(mixer: RWKV6TimeMix, x_BTC: Tensor) -> Shapes | None:
    """Shapes of the state, or None where the step cannot take these sizes."""
    (B, _, C), (H, lora_mix, lora_decay) = x_BTC.shape, rwkv6_sizes(mixer)
    if 5 * lora_mix % 8 or lora_decay % 8:
        return None
    return ("rwkv_shift", (B, C)), ("rwkv_state", (B, H, C // H, C // H))


def mamba2_sizes(mixer: Mamba2) -> tuple[int, int, int, int, int]:
    """Inner width, head size, groups, state size and taps of the convolution."""
    return mixer.d_inner, mixer.head_dim, mixer.num_groups, mixer.d_state, mixer.conv1d.kernel_size[0]


def _mamba2_shapes(mixer: Mamba2, x_BTC: Tensor) -> Shapes | None:
    B, (E, P, G, N, W) = len(x_BTC), mamba2_sizes(mixer)
    return (("mamba_conv", (B, E + 2 * G * N, W - 1)), ("mamba_state", (B, E // P, P, N))) if E % 8 == 0 else None


def rwkv6(mixer: RWKV6TimeMix, x_BTC: Tensor, state: LayerState) -> tuple[Tensor, LayerState] | None:
    """`RWKV6TimeMix.forward` for one token: output [B, 1, C] and the state after it; None if its parts must run."""
    shapes = _rwkv6_shapes(mixer, x_BTC)
    if shapes is None or not _fits(state, shapes):
        return None
    B, _, C = x_BTC.shape
    weights = _weights(mixer, RWKV6, rwkv6_weights(C, *rwkv6_sizes(mixer)))
    if weights is None:
        return None
    x = x_BTC[:, 0].contiguous()
    shift, before = state["rwkv_shift"].contiguous(), state["rwkv_state"].contiguous()
    out, after = torch.empty_like(x), torch.empty_like(before)
    sizes = (B, C, *rwkv6_sizes(mixer), mixer.ln_x.eps)
    _call("rwkv6_step", sizes, (weights, addresses((shift, before))), x, out, after)
    return out[:, None], {"rwkv_state": after, "rwkv_shift": x}


def mamba2(mixer: Mamba2, x_BTC: Tensor, state: LayerState) -> tuple[Tensor, LayerState] | None:
    """`Mamba2.forward` for one token: output [B, 1, C] and the state after it; None if its parts must run."""
    shapes = _mamba2_shapes(mixer, x_BTC)
    if shapes is None or not _fits(state, shapes):
        return None
    B, _, C = x_BTC.shape
    weights = _weights(mixer, MAMBA2, mamba2_weights(C, *mamba2_sizes(mixer)))
    if weights is None:
        return None
    x = x_BTC[:, 0].contiguous()
    conv, before = state["mamba_conv"].contiguous(), state["mamba_state"].contiguous()
    out, conv_after, after = torch.empty_like(x), torch.empty_like(conv), torch.empty_like(before)
    sizes = (B, C, *mamba2_sizes(mixer), mixer.norm.eps)
    _call("mamba2_step", sizes, (weights, addresses((conv, before))), x, out, conv_after, after)
    return out[:, None], {"mamba_state": after, "mamba_conv": conv_after}


@cache
def of_blocks(layers: int) -> tuple[str, ...]:
    """Names of the weights of a list of blocks."""
    return tuple(f"{layer}.{name}" for layer in range(layers) for name in BLOCK)


def blocks(
    blocks: nn.ModuleList, x_BTC: Tensor, states: Sequence[LayerState]
) -> tuple[Tensor, list[LayerState], list[Activations]] | None:
    """`HybridLM.run_blocks` for one token: blocks of both mixers with one gate per position; None if they must run."""
    first: Block = blocks[0]  # type: ignore[assignment]
    rwkv, mamba, up = first.rwkv, first.mamba, first.ffn.up
    if rwkv is None or mamba is None or up.out_features % 8:
        return None
    of_rwkv, of_mamba = _rwkv6_shapes(rwkv, x_BTC), _mamba2_shapes(mamba, x_BTC)
    if of_rwkv is None or of_mamba is None or not all(_fits(state, of_rwkv + of_mamba) for state in states):
        return None
    L, (B, T, C) = len(blocks), x_BTC.shape
    of_block = C, *rwkv6_sizes(rwkv), *mamba2_sizes(mamba), up.out_features
    weights = _weights(blocks, of_blocks(L), block_weights(*of_block), L)
    if weights is None:
        return None
    x, size = x_BTC.clone(memory_format=torch.contiguous_format), x_BTC.new_empty
    before = [state[name].contiguous() for state in states for name in _BLOCK_STATE]
    # Layer by layer: one piece of memory for all would be so large that the system takes it back after every token.
    after = [size(shape) for _ in states for _, shape in of_rwkv + of_mamba]
    rwkv_out, mamba_out, share = size(L, B, T, C), size(L, B, T, C), size(L, B, T, 1)
    _call(
        "blocks_step",
        (L, B, *of_block, rwkv.ln_x.eps, mamba.norm.eps, first.mix_norm.eps),
        (weights, addresses(before), addresses(after)),
        *(x, rwkv_out, mamba_out, share),
    )
    seen = zip(*(tensor.unbind() for tensor in (rwkv_out, mamba_out, share)), strict=True)
    return (
        x,
        [dict(zip(_BLOCK_STATE, after[i : i + 4], strict=True)) for i in range(0, len(after), 4)],
        [dict(zip(("rwkv_out", "mamba_out", "gate"), layer, strict=True)) for layer in seen],
    )
