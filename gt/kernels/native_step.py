"""Decoding on the CPU: one token through a mixer or a whole block in one call of our own kernels (`cpp/step.cpp`).

The readable forms are the `forward` of `RWKV6TimeMix`, `Mamba2` and `Block`, which call these where they can run.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from gt.kernels import dispatch, native

if TYPE_CHECKING:
    from gt.models.hybrid import Activations, Block
    from gt.models.mamba2 import Mamba2
    from gt.models.rwkv6 import RWKV6TimeMix
    from gt.models.state import LayerState

RWKV6_OPS = ("wkv6", "token_mix", "gated_group_norm")
MAMBA2_OPS = ("ssd", "causal_conv1d", "rms_norm")
BLOCK_OPS = RWKV6_OPS + MAMBA2_OPS

# In the order in which cpp/step.cpp reads them.
_RWKV6 = (
    *(f"time_maa_{name}" for name in "xwkvrg"),
    *("time_maa_w1", "time_maa_w2", "time_decay", "time_decay_w1", "time_decay_w2", "time_faaaa"),
    *("receptance.weight", "key.weight", "value.weight", "gate.weight", "output.weight", "ln_x.weight", "ln_x.bias"),
)
_MAMBA2 = ("in_proj.weight", "conv1d.weight", "conv1d.bias", "dt_bias", "A_log", "D", "norm.weight", "out_proj.weight")
_BLOCK = (
    *(f"rwkv.{name}" for name in _RWKV6),
    *(f"mamba.{name}" for name in _MAMBA2),
    *("mix_norm.weight", "fusion.gate.weight", "fusion.gate.bias"),
    *("ffn_norm.weight", "ffn.up.weight", "ffn.down.weight"),
)

_known: dict[tuple[str, ...], tuple[object, ...]] = {}


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
    # Asked for every layer of every token: the answer is kept for as long as what it depends on is the same.
    now = (os.environ.get("GT_KERNELS"), *(dispatch.BACKENDS[op] for op in ops))
    known = _known.get(ops)
    if known is None or known[0] != now[0] or any(a is not b for a, b in zip(known[1:], now[1:], strict=False)):
        ready = all(dispatch.resolve(op, "cpu").backend.run is getattr(native, op) for op in ops)
        known = _known[ops] = (*now, ready and native.refused("step") is None)
    return known[-1] is True


class _Part:
    """What a step reads of a module: found once, since looking up 33 weights by name takes longer than using them."""

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        self._children = [
            (parent._modules, name, child)
            for parent in module.modules()
            for name, child in parent._modules.items()
            if child is not None
        ]
        owners = ((module.get_submodule(owner), name) for owner, _, name in (n.rpartition(".") for n in names))
        self._weights = [(owner._parameters, name) for owner, name in owners]
        read = {(id(parameters), name) for parameters, name in self._weights}
        self._plain = all(
            (type(child) in _PLAIN or type(child).__module__.startswith("gt.models."))
            and all(p is None or (id(child._parameters), n) in read for n, p in child._parameters.items())
            for _, _, child in self._children
        )

    def addresses(self) -> list[int] | None:
        """Where the weights lie, or None where the parts of the module must run themselves.

        That is where one has a hook, another forward, a parameter that the step does not know, or has been replaced, or
        where a weight does not lie in memory as the step reads it.
        """
        if not self._plain:
            return None
        for children, name, child in self._children:
            if (
                children.get(name) is not child
                or "forward" in child.__dict__
                or child._forward_hooks
                or child._forward_pre_hooks
            ):
                return None
        found = []
        for parameters, name in self._weights:
            weight = parameters.get(name)
            if weight is None or not _readable(weight):
                return None
            found.append(weight.data_ptr())
        return found


_PLAIN = {nn.Linear, nn.Conv1d, nn.GroupNorm}


def _readable(tensor: Tensor) -> bool:
    return tensor.dtype is torch.float32 and tensor.is_cpu and tensor.is_contiguous()


def _fits(state: LayerState, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Whether a state is what the step will read; the readable form says what is wrong with another."""
    return all(
        (tensor := state.get(name)) is not None
        and tensor.shape == shape
        and tensor.dtype is torch.float32
        and tensor.is_cpu
        for name, shape in shapes.items()
    )


_parts: WeakKeyDictionary[nn.Module, _Part] = WeakKeyDictionary()


def _addresses(module: nn.Module, names: tuple[str, ...]) -> list[int] | None:
    part = _parts.get(module)
    if part is None:
        part = _parts[module] = _Part(module, names)
    found = part.addresses()
    if found is None:
        del _parts[module]  # its parts may have changed for good
    return found


def _call(name: str, sizes: tuple[int | float, ...], weights: list[int], *tensors: Tensor) -> None:
    run = native.function("step", name, tuple(map(type, sizes)), len(tensors) + 1)
    table = (ctypes.c_void_p * len(weights))(*weights)
    run(*sizes, ctypes.addressof(table), *[t.data_ptr() for t in tensors], torch.get_num_threads())


def _rwkv6_sizes(mixer: RWKV6TimeMix) -> tuple[int, int, int]:
    return mixer.num_heads, mixer.time_maa_w2.shape[1], len(mixer.time_decay_w2)


def _rwkv6_fits(mixer: RWKV6TimeMix, x_BTC: Tensor, state: LayerState) -> bool:
    (B, _, C), (H, lora_mix, lora_decay) = x_BTC.shape, _rwkv6_sizes(mixer)
    shapes = {"rwkv_shift": (B, C), "rwkv_state": (B, H, C // H, C // H)}
    return not (5 * lora_mix % 8 or lora_decay % 8) and _fits(state, shapes)


def _mamba2_sizes(mixer: Mamba2) -> tuple[int, int, int, int, int]:
    return mixer.d_inner, mixer.head_dim, mixer.num_groups, mixer.d_state, mixer.conv1d.kernel_size[0]


def _mamba2_fits(mixer: Mamba2, x_BTC: Tensor, state: LayerState) -> bool:
    B, (E, P, G, N, W) = len(x_BTC), _mamba2_sizes(mixer)
    shapes = {"mamba_conv": (B, E + 2 * G * N, W - 1), "mamba_state": (B, E // P, P, N)}
    return E % 8 == 0 and _fits(state, shapes)


def rwkv6(mixer: RWKV6TimeMix, x_BTC: Tensor, state: LayerState) -> tuple[Tensor, LayerState] | None:
    """`RWKV6TimeMix.forward` for one token: output [B, 1, C] and the state after it; None if its parts must run."""
    weights = _addresses(mixer, _RWKV6) if _rwkv6_fits(mixer, x_BTC, state) else None
    if weights is None:
        return None
    B, _, C = x_BTC.shape
    x = x_BTC[:, 0].contiguous()
    shift, before = state["rwkv_shift"].contiguous(), state["rwkv_state"].contiguous()
    out, after = torch.empty_like(x), torch.empty_like(before)
    sizes = (B, C, *_rwkv6_sizes(mixer), mixer.ln_x.eps)
    _call("rwkv6_step", sizes, weights, x, shift, before, out, after)
    return out[:, None], {"rwkv_state": after, "rwkv_shift": x}


def mamba2(mixer: Mamba2, x_BTC: Tensor, state: LayerState) -> tuple[Tensor, LayerState] | None:
    """`Mamba2.forward` for one token: output [B, 1, C] and the state after it; None if its parts must run."""
    weights = _addresses(mixer, _MAMBA2) if _mamba2_fits(mixer, x_BTC, state) else None
    if weights is None:
        return None
    B, _, C = x_BTC.shape
    x = x_BTC[:, 0].contiguous()
    conv, before = state["mamba_conv"].contiguous(), state["mamba_state"].contiguous()
    out, conv_after, after = torch.empty_like(x), torch.empty_like(conv), torch.empty_like(before)
    sizes = (B, C, *_mamba2_sizes(mixer), mixer.norm.eps)
    _call("mamba2_step", sizes, weights, x, conv, before, out, conv_after, after)
    return out[:, None], {"mamba_state": after, "mamba_conv": conv_after}


def block(
    block: Block, rwkv: RWKV6TimeMix, mamba: Mamba2, x_BTC: Tensor, state: LayerState
) -> tuple[Tensor, LayerState, Activations] | None:
    """`Block.forward` with both mixers and one gate per position, for one token; None if its parts must run."""
    fits = _rwkv6_fits(rwkv, x_BTC, state) and _mamba2_fits(mamba, x_BTC, state)
    weights = _addresses(block, _BLOCK) if fits and block.ffn.up.out_features % 8 == 0 else None
    if weights is None:
        return None
    B, _, C = x_BTC.shape
    x = x_BTC.contiguous()
    shift, S = state["rwkv_shift"].contiguous(), state["rwkv_state"].contiguous()
    conv, M = state["mamba_conv"].contiguous(), state["mamba_state"].contiguous()
    out, rwkv_out, mamba_out = (torch.empty_like(x) for _ in range(3))
    share, normed = x.new_empty(B, 1, 1), torch.empty_like(shift)
    S_after, conv_after, M_after = torch.empty_like(S), torch.empty_like(conv), torch.empty_like(M)
    sizes = (B, C, *_rwkv6_sizes(rwkv), *_mamba2_sizes(mamba), block.ffn.up.out_features)
    _call(
        "block_step",
        (*sizes, rwkv.ln_x.eps, mamba.norm.eps, block.mix_norm.eps),
        weights,
        *(x, shift, S, conv, M, out, normed, rwkv_out, mamba_out, share, S_after, conv_after, M_after),
    )
    after = {"rwkv_state": S_after, "rwkv_shift": normed, "mamba_state": M_after, "mamba_conv": conv_after}
    return out, after, {"rwkv_out": rwkv_out, "mamba_out": mamba_out, "gate": share}
