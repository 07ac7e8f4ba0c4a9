"""Decoding on the CPU: one token through a mixer or a whole block in one call of our own kernels (`cpp/step.cpp`).

The readable forms are the `forward` of `RWKV6TimeMix`, `Mamba2` and `Block`, which call these where they can run.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

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


def untouched(module: nn.Module) -> bool:
    """Whether a module and its parts are as they were built: no hook and no other forward would be passed over."""
    if "forward" in module.__dict__ or module._forward_hooks or module._forward_pre_hooks:
        return False
    return all(untouched(part) for part in module._modules.values() if part is not None)


def _addresses(module: nn.Module, names: tuple[str, ...]) -> list[int]:
    """Where parameters lie, by dotted name."""
    found = []
    for name in names:  # read where torch keeps them: an attribute of a module costs a microsecond
        *owners, last = name.split(".")
        owner = module
        for part in owners:
            owner = owner._modules[part]  # type: ignore[assignment]
        found.append(owner._parameters[last].data_ptr())  # type: ignore[union-attr]
    return found


def _call(name: str, sizes: tuple[int | float, ...], weights: list[int], *tensors: Tensor) -> None:
    run = native.function("step", name, tuple(map(type, sizes)), len(tensors) + 1)
    table = (ctypes.c_void_p * len(weights))(*weights)
    run(*sizes, ctypes.addressof(table), *(t.data_ptr() for t in tensors), torch.get_num_threads())


def _rwkv6_sizes(mixer: RWKV6TimeMix) -> tuple[int, ...]:
    return mixer.num_heads, mixer.time_maa_w2.shape[1], len(mixer.time_decay_w2)


def _mamba2_sizes(mixer: Mamba2, conv: Tensor) -> tuple[int, ...]:
    return mixer.d_inner, mixer.head_dim, mixer.num_groups, mixer.d_state, conv.shape[-1] + 1


def rwkv6(mixer: RWKV6TimeMix, x_BTC: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
    """`RWKV6TimeMix.forward` for one token: output [B, 1, C] and the state after it."""
    B, _, C = x_BTC.shape
    x = x_BTC[:, 0].contiguous()
    shift, before = state["rwkv_shift"].contiguous(), state["rwkv_state"].contiguous()
    out, after = torch.empty_like(x), torch.empty_like(before)
    sizes = (B, C, *_rwkv6_sizes(mixer), mixer.ln_x.eps)
    _call("rwkv6_step", sizes, _addresses(mixer, _RWKV6), x, shift, before, out, after)
    return out[:, None], {"rwkv_state": after, "rwkv_shift": x}


def mamba2(mixer: Mamba2, x_BTC: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
    """`Mamba2.forward` for one token: output [B, 1, C] and the state after it."""
    B, _, C = x_BTC.shape
    x = x_BTC[:, 0].contiguous()
    conv, before = state["mamba_conv"].contiguous(), state["mamba_state"].contiguous()
    out, conv_after, after = torch.empty_like(x), torch.empty_like(conv), torch.empty_like(before)
    sizes = (B, C, *_mamba2_sizes(mixer, conv), mixer.norm.eps)
    _call("mamba2_step", sizes, _addresses(mixer, _MAMBA2), x, conv, before, out, conv_after, after)
    return out[:, None], {"mamba_state": after, "mamba_conv": conv_after}


def block(
    block: Block, rwkv: RWKV6TimeMix, mamba: Mamba2, x_BTC: Tensor, state: LayerState
) -> tuple[Tensor, LayerState, Activations]:
    """`Block.forward` with both mixers and one gate per position, for one token."""
    B, _, C = x_BTC.shape
    x = x_BTC.contiguous()
    shift, S = state["rwkv_shift"].contiguous(), state["rwkv_state"].contiguous()
    conv, M = state["mamba_conv"].contiguous(), state["mamba_state"].contiguous()
    out, rwkv_out, mamba_out = (torch.empty_like(x) for _ in range(3))
    share, normed = x.new_empty(B, 1, 1), torch.empty_like(shift)
    S_after, conv_after, M_after = torch.empty_like(S), torch.empty_like(conv), torch.empty_like(M)
    sizes = (B, C, *_rwkv6_sizes(rwkv), *_mamba2_sizes(mamba, conv), block.ffn.up.out_features)
    _call(
        "block_step",
        (*sizes, rwkv.ln_x.eps, mamba.norm.eps, block.mix_norm.eps),
        [*_addresses(rwkv, _RWKV6), *_addresses(mamba, _MAMBA2), *_addresses(block, _BLOCK)],
        *(x, shift, S, conv, M, out, normed, rwkv_out, mamba_out, share, S_after, conv_after, M_after),
    )
    after = {"rwkv_state": S_after, "rwkv_shift": normed, "mamba_state": M_after, "mamba_conv": conv_after}
    return out, after, {"rwkv_out": rwkv_out, "mamba_out": mamba_out, "gate": share}
