"""The ops on the CPU by our own compiled kernels (`cpp/`), which compute in fp32 and hold a head's state in the cache.

fp64 inputs take the PyTorch form, which is exact in any dtype.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from gt.compiler import SOURCES, CompilerMissing, library
from gt.kernels import conv, fused, ssd_chunked, wkv6_chunked
from gt.kernels.derivatives import first_only

log = logging.getLogger(__name__)


@cache
def refused(source: str) -> str | None:
    """Why the kernels of one source cannot run here, or None. Compiles them on first use, and tries that once."""
    try:
        library(SOURCES / f"{source}.cpp")
    except CompilerMissing as reason:
        log.warning("compiled kernels (%s) are not used: %s", source, reason)
        return str(reason)
    return None


@cache
def function(source: str, name: str, sizes: tuple[type, ...], tensors: int) -> Callable[..., None]:
    """A compiled function: called with sizes (int or float), addresses of tensors, and the number of threads."""
    found = getattr(library(SOURCES / f"{source}.cpp"), name)
    numbers = [ctypes.c_long if size is int else ctypes.c_float for size in sizes]
    found.argtypes = [*numbers, *[ctypes.c_void_p] * tensors, ctypes.c_int]
    found.restype = None
    run: Callable[..., None] = found
    return run


def call(source: str, name: str, sizes: tuple[int | float, ...], *tensors: Tensor | None) -> None:
    """Run a compiled function on contiguous tensors (None: a null pointer)."""
    run = function(source, name, tuple(map(type, sizes)), len(tensors))
    run(*sizes, *(None if t is None else t.data_ptr() for t in tensors), torch.get_num_threads())


def _fp32(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.float().contiguous() for tensor in tensors)


class _Forgetful:
    """Stands in for autograd's context where nothing will be asked for a gradient: the way through it costs 20 us."""

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep nothing."""


def _apply(function: type[torch.autograd.Function], *inputs: Any) -> Any:
    if torch.is_grad_enabled():
        return function.apply(*inputs)
    return function.forward(_Forgetful(), *inputs)


class _WKV6(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor, s0: Tensor) -> tuple[Tensor, Tensor]:
        ctx.sizes = (*r.shape, v.shape[-1])
        ctx.save_for_backward(r, k, v, w, u, s0)
        y, final = torch.empty_like(v), torch.empty_like(s0)
        call("wkv6", "wkv6_forward", ctx.sizes, r, k, v, w, u, s0, y, final)
        return y, final

    @staticmethod
    @first_only
    def backward(ctx: Any, gy: Tensor, gfinal: Tensor) -> tuple[Tensor, ...]:
        r, k, v, w, u, s0 = ctx.saved_tensors
        gr, gk, gv, gw = (torch.empty_like(t) for t in (r, k, v, w))
        gu = u.new_zeros(r.shape[0], *u.shape)
        gs0 = gfinal.contiguous().clone()
        call("wkv6", "wkv6_backward", ctx.sizes, r, k, v, w, u, s0, gy.contiguous(), gr, gk, gv, gw, gu, gs0)
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
    y, final = _apply(_WKV6, *_fp32(*inputs, state))
    return y.to(r_BTHK.dtype), final


class _SSD(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, A: Tensor, Bm: Tensor, Cm: Tensor, D: Tensor, s0: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.sizes = (*x.shape, *Bm.shape[2:])
        ctx.save_for_backward(x, dt, A, Bm, Cm, D, s0)
        y, final = torch.empty_like(x), torch.empty_like(s0)
        call("ssd", "ssd_forward", ctx.sizes, x, dt, A, Bm, Cm, D, s0, y, final)
        return y, final

    @staticmethod
    @first_only
    def backward(ctx: Any, gy: Tensor, gfinal: Tensor) -> tuple[Tensor | None, ...]:
        x, dt, A, Bm, Cm, D, s0 = ctx.saved_tensors
        B, T, H, _ = x.shape
        G, N = Bm.shape[2:]
        gx, gdt = torch.empty_like(x), torch.empty_like(dt)
        gA, gD = (x.new_zeros(B, H) for _ in range(2))
        gB, gC = (x.new_empty(B, T, H, N) for _ in range(2))
        gs0 = gfinal.contiguous().clone()
        wanted = bool(ctx.needs_input_grad[6])
        sizes = (*ctx.sizes, int(wanted))
        call("ssd", "ssd_backward", sizes, x, dt, A, Bm, Cm, D, s0, gy.contiguous(), gx, gdt, gA, gB, gC, gD, gs0)
        gB, gC = (t.view(B, T, G, H // G, N).sum(3) for t in (gB, gC))
        return gx, gdt, gA.sum(0), gB, gC, gD.sum(0), gs0 if wanted else None


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
    y, final = _apply(_SSD, *_fp32(x_BTHP, dt_BTH, A_H, B_BTGN, C_BTGN, D, state))
    return y.to(x_BTHP.dtype), final


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_WD: Tensor, bias: Tensor) -> Tensor:
        W, D = weight_WD.shape
        ctx.sizes = (x.shape[0], x.shape[1] - W + 1, D, W)
        ctx.save_for_backward(x, weight_WD, bias)
        y = x.new_empty(ctx.sizes[:3])
        call("conv", "conv_forward", ctx.sizes, x, weight_WD, bias, y)
        return y

    @staticmethod
    @first_only
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, ...]:
        x, weight_WD, bias = ctx.saved_tensors
        gx = torch.zeros_like(x)
        gweight, gbias = (x.new_zeros(x.shape[0], *t.shape) for t in (weight_WD, bias))
        call("conv", "conv_backward", ctx.sizes, x, weight_WD, bias, gy.contiguous(), gx, gweight, gbias)
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
    y: Tensor = _apply(_Conv, *_fp32(padded, weight_DW.t(), bias_D))
    return y.to(x_BTD.dtype), padded[:, T:].transpose(1, 2).contiguous()


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, shares: Tensor | None) -> Tensor:
        losses, maxima, log_sums = (logits.new_empty(len(logits)) for _ in range(3))
        call("fused", "cross_entropy_forward", tuple(logits.shape), logits, targets, losses, maxima, log_sums)
        ctx.save_for_backward(logits, targets, maxima, log_sums, shares)
        return losses.mean() if shares is None else (losses * shares).sum()

    @staticmethod
    @first_only
    def backward(ctx: Any, gloss: Tensor) -> tuple[Tensor, None, None]:
        *inputs, shares = ctx.saved_tensors
        logits = inputs[0]
        gradient, scales = torch.empty_like(logits), gloss / len(logits) if shares is None else gloss * shares
        sizes = (*logits.shape, int(shares is not None))
        call("fused", "cross_entropy_backward", sizes, *inputs, scales, gradient)
        return gradient, None, None


def cross_entropy(logits_NV: Tensor, targets_N: Tensor, weights_N: Tensor | None = None) -> Tensor:
    """Same function as `gt.kernels.fused.cross_entropy`."""
    if logits_NV.dtype == torch.float64:
        return fused.cross_entropy(logits_NV, targets_N, weights_N)
    low, high = (int(bound) for bound in torch.aminmax(targets_N))
    if low < 0 or high >= logits_NV.shape[1]:
        raise ValueError(f"targets run from {low} to {high}: expected token ids from 0 to {logits_NV.shape[1] - 1}")
    shares = None if weights_N is None else fused.row_shares(weights_N, torch.float32)
    loss: Tensor = _apply(_CrossEntropy, *_fp32(logits_NV), targets_N.contiguous(), shares)
    return loss


class _TokenMix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, previous: Tensor, base: Tensor, shares: Tensor) -> Tensor:
        M, C = base.shape
        ctx.sizes = (x.numel() // C, C, M)
        ctx.save_for_backward(x, previous, base, shares)
        out = torch.empty_like(shares)
        call("fused", "token_mix_forward", ctx.sizes, x, previous, base, shares, out)
        return out

    @staticmethod
    @first_only
    def backward(ctx: Any, gout: Tensor) -> tuple[Tensor, ...]:
        x, previous, base, shares = ctx.saved_tensors
        gx, gprevious, gshares = torch.empty_like(x), torch.empty_like(x), torch.empty_like(shares)
        gbase = base.new_empty(torch.get_num_threads(), *base.shape)
        sizes = (*ctx.sizes, len(gbase))
        inputs = (x, previous, base, shares, gout.contiguous())
        call("fused", "token_mix_backward", sizes, *inputs, gx, gprevious, gbase, gshares)
        return gx, gprevious, gbase.sum(0), gshares


def token_mix(x_BTC: Tensor, previous_BTC: Tensor, base_MC: Tensor, shares_MBTC: Tensor) -> Tensor:
    """Same function as `gt.kernels.fused.token_mix`."""
    inputs = (x_BTC, previous_BTC, base_MC, shares_MBTC)
    if x_BTC.dtype == torch.float64:
        return fused.token_mix(*inputs)
    out: Tensor = _apply(_TokenMix, *_fp32(*inputs))
    return out.to(x_BTC.dtype)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, gate: Tensor | None, eps: float) -> Tensor:
        rows, C = x.numel() // x.shape[-1], x.shape[-1]
        out, scales = torch.empty_like(x), x.new_empty(rows)
        call("fused", "rms_norm_forward", (rows, C, eps), x, gate, weight, out, scales)
        ctx.save_for_backward(x, weight, gate, scales)
        return out

    @staticmethod
    @first_only
    def backward(ctx: Any, gout: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, gate, scales = ctx.saved_tensors
        gx = torch.empty_like(x)
        ggate = None if gate is None else torch.empty_like(x)
        gweight = x.new_empty(torch.get_num_threads(), len(weight))
        sizes = (len(scales), len(weight), len(gweight))
        inputs = (x, gate, weight, scales, gout.contiguous())
        call("fused", "rms_norm_backward", sizes, *inputs, gx, ggate, gweight)
        return gx, gweight.sum(0), ggate, None


def rms_norm(x: Tensor, weight_C: Tensor, eps: float, gate: Tensor | None = None) -> Tensor:
    """Same function as `gt.kernels.fused.rms_norm`."""
    if x.dtype == torch.float64:
        return fused.rms_norm(x, weight_C, eps, gate)
    inputs = _fp32(x, weight_C)
    out: Tensor = _apply(_RMSNorm, *inputs, None if gate is None else _fp32(gate)[0], eps)
    return out.to(x.dtype)


class _GatedGroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, gate: Tensor, groups: int, eps: float) -> Tensor:
        rows, C = x.numel() // x.shape[-1], x.shape[-1]
        out = torch.empty_like(x)
        means, scales = (x.new_empty(rows, groups) for _ in range(2))
        call("fused", "group_norm_forward", (rows, C, groups, eps), x, gate, weight, bias, out, means, scales)
        ctx.save_for_backward(x, gate, weight, bias, means, scales)
        return out

    @staticmethod
    @first_only
    def backward(ctx: Any, gout: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        x, weight, means = inputs[0], inputs[2], inputs[4]
        gx, ggate = torch.empty_like(x), torch.empty_like(x)
        gweight, gbias = (x.new_empty(torch.get_num_threads(), len(weight)) for _ in range(2))
        sizes = (len(means), len(weight), means.shape[1], len(gweight))
        call("fused", "group_norm_backward", sizes, *inputs, gout.contiguous(), gx, ggate, gweight, gbias)
        return gx, gweight.sum(0), gbias.sum(0), ggate, None, None


def gated_group_norm(x: Tensor, weight_C: Tensor, bias_C: Tensor, groups: int, eps: float, gate: Tensor) -> Tensor:
    """Same function as `gt.kernels.fused.gated_group_norm`."""
    if x.dtype == torch.float64:
        return fused.gated_group_norm(x, weight_C, bias_C, groups, eps, gate)
    out: Tensor = _apply(_GatedGroupNorm, *_fp32(x, weight_C, bias_C, gate), groups, eps)
    return out.to(x.dtype)
