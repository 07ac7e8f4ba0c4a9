"""The ops on the CPU by our own compiled kernels (`native.cpp`): plain recurrences with the state held in the cache.

All compute in fp32; fp64 inputs take the PyTorch form, which is exact in any dtype.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gt.kernels import conv, ssd_chunked, wkv6_chunked
from gt.kernels.compiler import CompilerMissing, library

SOURCE = Path(__file__).with_name("native.cpp")


@cache
def refused() -> str | None:
    """Why this backend cannot run here, or None. Compiles the kernels on first use, and tries that once."""
    try:
        library(SOURCE)
    except CompilerMissing as reason:
        return str(reason)
    return None


def _call(name: str, sizes: tuple[int, ...], *tensors: Tensor) -> None:
    getattr(library(SOURCE), name)(
        *map(ctypes.c_long, sizes),
        *(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors),
        ctypes.c_int(torch.get_num_threads()),
    )


def _fp32(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.float().contiguous() for tensor in tensors)


class _WKV6(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor, s0: Tensor) -> tuple[Tensor, Tensor]:
        ctx.sizes = (*r.shape, v.shape[-1])
        ctx.save_for_backward(r, k, v, w, u, s0)
        y, final = torch.empty_like(v), torch.empty_like(s0)
        _call("wkv6_forward", ctx.sizes, r, k, v, w, u, s0, y, final)
        return y, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor, gfinal: Tensor) -> tuple[Tensor, ...]:
        r, k, v, w, u, s0 = ctx.saved_tensors
        gr, gk, gv, gw = (torch.empty_like(t) for t in (r, k, v, w))
        gu = u.new_zeros(r.shape[0], *u.shape)
        gs0 = gfinal.contiguous().clone()
        _call("wkv6_backward", ctx.sizes, r, k, v, w, u, s0, gy.contiguous(), gr, gk, gv, gw, gu, gs0)
        return gr, gk, gv, gw, gu.sum(0), gs0


def wkv6(
    r_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, w_BTHK: Tensor, u_HK: Tensor, state_BHKV: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Same function as `gt.kernels.reference.wkv6`."""
    inputs = (r_BTHK, k_BTHK, v_BTHV, w_BTHK, u_HK)
    if r_BTHK.dtype == torch.float64:
        return wkv6_chunked.wkv6(*inputs, state_BHKV)
    B, _, H, K = r_BTHK.shape
    state = r_BTHK.new_zeros(B, H, K, v_BTHV.shape[-1]) if state_BHKV is None else state_BHKV
    y, final = _WKV6.apply(*_fp32(*inputs, state))  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    return y.to(r_BTHK.dtype), final


class _SSD(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, A: Tensor, Bm: Tensor, Cm: Tensor, D: Tensor, s0: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.sizes = (*x.shape, *Bm.shape[2:])
        ctx.save_for_backward(x, dt, A, Bm, Cm, D, s0)
        y, final = torch.empty_like(x), torch.empty_like(s0)
        _call("ssd_forward", ctx.sizes, x, dt, A, Bm, Cm, D, s0, y, final)
        return y, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor, gfinal: Tensor) -> tuple[Tensor, ...]:
        x, dt, A, Bm, Cm, D, s0 = ctx.saved_tensors
        B, T, H, _ = x.shape
        G, N = Bm.shape[2:]
        gx, gdt = torch.empty_like(x), torch.empty_like(dt)
        gA, gD = (x.new_zeros(B, H) for _ in range(2))
        gB, gC = (x.new_empty(B, T, H, N) for _ in range(2))
        gs0 = gfinal.contiguous().clone()
        _call("ssd_backward", ctx.sizes, x, dt, A, Bm, Cm, D, s0, gy.contiguous(), gx, gdt, gA, gB, gC, gD, gs0)
        gB, gC = (t.view(B, T, G, H // G, N).sum(3) for t in (gB, gC))
        return gx, gdt, gA.sum(0), gB, gC, gD.sum(0), gs0


def ssd(
    x_BTHP: Tensor,
    dt_BTH: Tensor,
    A_H: Tensor,
    B_BTGN: Tensor,
    C_BTGN: Tensor,
    D_H: Tensor | None = None,
    state_BHPN: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Same function as `gt.kernels.reference.ssd`."""
    if x_BTHP.dtype == torch.float64:
        return ssd_chunked.ssd(x_BTHP, dt_BTH, A_H, B_BTGN, C_BTGN, D_H, state_BHPN)
    B, _, H, P = x_BTHP.shape
    D = x_BTHP.new_zeros(H) if D_H is None else D_H
    state = x_BTHP.new_zeros(B, H, P, B_BTGN.shape[-1]) if state_BHPN is None else state_BHPN
    y, final = _SSD.apply(*_fp32(x_BTHP, dt_BTH, A_H, B_BTGN, C_BTGN, D, state))  # type: ignore[no-untyped-call]
    return y.to(x_BTHP.dtype), final


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_WD: Tensor, bias: Tensor) -> Tensor:
        W, D = weight_WD.shape
        ctx.sizes = (x.shape[0], x.shape[1] - W + 1, D, W)
        ctx.save_for_backward(x, weight_WD, bias)
        y = x.new_empty(ctx.sizes[:3])
        _call("conv_forward", ctx.sizes, x, weight_WD, bias, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, ...]:
        x, weight_WD, bias = ctx.saved_tensors
        gx = torch.zeros_like(x)
        gweight, gbias = (x.new_zeros(x.shape[0], *t.shape) for t in (weight_WD, bias))
        _call("conv_backward", ctx.sizes, x, weight_WD, bias, gy.contiguous(), gx, gweight, gbias)
        return gx, gweight.sum(0), gbias.sum(0)


def causal_conv1d(
    x_BTD: Tensor, weight_DW: Tensor, bias_D: Tensor, state_BDW: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Same function as `gt.kernels.reference.causal_conv1d`."""
    if x_BTD.dtype == torch.float64:
        return conv.causal_conv1d(x_BTD, weight_DW, bias_D, state_BDW)
    B, T, D = x_BTD.shape
    width = weight_DW.shape[1]
    past = x_BTD.new_zeros(B, width - 1, D) if state_BDW is None else state_BDW.to(x_BTD.dtype).transpose(1, 2)
    padded = torch.cat([past, x_BTD], dim=1)
    y: Tensor = _Conv.apply(*_fp32(padded, weight_DW.t(), bias_D))  # type: ignore[no-untyped-call]
    return y.to(x_BTD.dtype), padded[:, T:].transpose(1, 2)
