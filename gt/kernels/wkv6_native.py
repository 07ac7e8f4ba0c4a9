"""WKV6 on the CPU by our own compiled kernel (`wkv6.cpp`): the plain recurrence, with the state held in the cache."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gt.kernels import wkv6_chunked
from gt.kernels.compiler import CompilerMissing, library

SOURCE = Path(__file__).with_name("wkv6.cpp")


def refused(device_type: str) -> str | None:
    """Why this backend cannot run on a device type, or None. Compiles the kernel on first use."""
    if device_type != "cpu":
        return f"it is compiled for the CPU, not for {device_type}"
    try:
        library(SOURCE)
    except CompilerMissing as reason:
        return str(reason)
    return None


def _call(name: str, sizes: tuple[int, ...], tensors: list[Tensor]) -> None:
    function = getattr(library(SOURCE), name)
    function(
        *map(ctypes.c_long, sizes),
        *(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors),
        ctypes.c_int(torch.get_num_threads()),
    )


class _WKV6(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        B, T, H, K = inputs[0].shape
        V = inputs[2].shape[-1]
        ctx.sizes = (B, T, H, K, V)
        ctx.save_for_backward(*inputs)
        y = inputs[0].new_empty(B, T, H, V)
        final = inputs[0].new_empty(B, H, K, V)
        _call("wkv6_forward", ctx.sizes, [*inputs, y, final])
        return y, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor, gfinal: Tensor) -> tuple[Tensor, ...]:
        r, k, v, w, u, s0 = ctx.saved_tensors
        B, _, H, K, _ = ctx.sizes
        gr, gk, gv, gw = (torch.empty_like(t) for t in (r, k, v, w))
        gu = u.new_zeros(B, H, K)
        gs0 = gfinal.contiguous().clone()
        _call("wkv6_backward", ctx.sizes, [r, k, v, w, u, s0, gy.contiguous(), gr, gk, gv, gw, gu, gs0])
        return gr, gk, gv, gw, gu.sum(0), gs0


def wkv6(
    r_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, w_BTHK: Tensor, u_HK: Tensor, state_BHKV: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Same function as `gt.kernels.reference.wkv6`, computed in fp32 (fp64 inputs take the chunked form)."""
    inputs = (r_BTHK, k_BTHK, v_BTHV, w_BTHK, u_HK)
    if r_BTHK.dtype == torch.float64:
        return wkv6_chunked.wkv6(*inputs, state_BHKV)
    B, _, H, K = r_BTHK.shape
    state = r_BTHK.new_zeros(B, H, K, v_BTHV.shape[-1], dtype=torch.float32) if state_BHKV is None else state_BHKV
    y, final = _WKV6.apply(*(t.float().contiguous() for t in (*inputs, state)))
    return y.to(r_BTHK.dtype), final


