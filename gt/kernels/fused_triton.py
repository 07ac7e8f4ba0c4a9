"""The functions of `gt.kernels.fused` on NVIDIA GPUs: one Triton kernel forward and one backward each.

They read and write every element once; spelled out, each is a handful of passes through memory, and of launches.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gt.kernels import fused
from gt.kernels.derivatives import first_only
from gt.kernels.wkv6_triton import on_device

ELEMENTS = 2048  # of a tile: 16 for each of 128 threads
PROGRAMS = 528  # that share the rows of a sum: 4 for each of 132 multiprocessors
LOGITS = 4096  # of a row at a time


def _power_of_2(size: int) -> int:
    return 1 << (size - 1).bit_length()


def _rows(x: Tensor) -> Tensor:
    """As rows of channels [N, C], without a copy if the channels are side by side."""
    flat = x.reshape(-1, x.shape[-1])
    return flat if flat.stride(1) == 1 else flat.contiguous()


def _tiles(rows: int, channels: int) -> tuple[int, int, int, int]:
    """Padded channels, rows of a tile, tiles, and programs that share them."""
    padded = _power_of_2(channels)
    height = max(1, ELEMENTS // padded)
    tiles = -(-rows // height)
    return padded, height, tiles, min(tiles, PROGRAMS)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, shares: Tensor | None) -> Tensor:
        from gt.kernels import fused_kernels as kernels

        N, V = logits.shape
        losses, maxima, log_sums = (logits.new_empty(N, dtype=torch.float32) for _ in range(3))
        with on_device(logits.device):
            kernels.cross_entropy_kernel[(N,)](
                logits,
                targets,
                losses,
                maxima,
                log_sums,
                logits.stride(0),
                V=V,
                BV=min(LOGITS, _power_of_2(V)),
                num_warps=8,
            )
        ctx.save_for_backward(logits, targets, maxima, log_sums, shares)
        return losses.mean() if shares is None else (losses * shares).sum()

    @staticmethod
    @first_only
    def backward(ctx: Any, gloss: Tensor) -> tuple[Tensor, None, None]:
        from gt.kernels import fused_kernels as kernels

        *inputs, shares = ctx.saved_tensors
        logits = inputs[0]
        N, V = logits.shape
        scales = gloss / N if shares is None else gloss * shares
        glogits = torch.empty_like(logits, memory_format=torch.contiguous_format)
        width = min(LOGITS, _power_of_2(V))
        with on_device(logits.device):
            kernels.cross_entropy_gradients_kernel[(N, -(-V // width))](
                *inputs, scales, glogits, logits.stride(0), V=V, BV=width, WEIGHTED=shares is not None
            )
        return glogits, None, None


def cross_entropy(logits_NV: Tensor, targets_N: Tensor, weights_N: Tensor | None = None) -> Tensor:
    """Same function as `gt.kernels.fused.cross_entropy`; targets must be ids of the vocabulary."""
    if logits_NV.dtype == torch.float64:
        return fused.cross_entropy(logits_NV, targets_N, weights_N)
    shares = None if weights_N is None else fused.row_shares(weights_N, torch.float32)
    inputs = (_rows(logits_NV), targets_N.contiguous(), shares)
    loss: Tensor = _CrossEntropy.apply(*inputs)  # type: ignore[no-untyped-call]
    return loss


class _TokenMix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, previous: Tensor, base: Tensor, shares: Tensor) -> Tensor:
        from gt.kernels import fused_kernels as kernels

        M, C = base.shape
        rows = x.numel() // C
        BC, R, tiles, _ = _tiles(rows, C)
        out = torch.empty_like(shares, dtype=x.dtype)
        with on_device(x.device):
            kernels.token_mix_kernel[(tiles,)](x, previous, base, shares, out, rows, M=M, C=C, BC=BC, R=R)
        ctx.save_for_backward(x, previous, base, shares)
        return out

    @staticmethod
    @first_only
    def backward(ctx: Any, gout: Tensor) -> tuple[Tensor, ...]:
        from gt.kernels import fused_kernels as kernels

        inputs = x, _, base, _ = ctx.saved_tensors
        M, C = base.shape
        rows = x.numel() // C
        BC, R, _, programs = _tiles(rows, C)
        gx, gprevious, gshares = (torch.empty_like(inputs[i]) for i in (0, 1, 3))
        gbase = base.new_empty(programs, M, C, dtype=torch.float32)
        with on_device(x.device):
            kernels.token_mix_gradients_kernel[(programs,)](
                *inputs, gout.contiguous(), gx, gprevious, gshares, gbase, rows, M=M, BM=_power_of_2(M), C=C, BC=BC, R=R
            )
        return gx, gprevious, gbase.sum(0).to(base.dtype), gshares


def token_mix(x_BTC: Tensor, previous_BTC: Tensor, base_MC: Tensor, shares_MBTC: Tensor) -> Tensor:
    """Same function as `gt.kernels.fused.token_mix`, in the dtype of x."""
    inputs = (x_BTC, previous_BTC, base_MC, shares_MBTC)
    if x_BTC.dtype == torch.float64:
        return fused.token_mix(*inputs)
    out: Tensor = _TokenMix.apply(*(t.contiguous() for t in inputs))  # type: ignore[no-untyped-call]
    return out


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, gate: Tensor | None, eps: float) -> Tensor:
        from gt.kernels import fused_kernels as kernels

        (rows, C), gated = x.shape, gate is not None
        BC, R, tiles, _ = _tiles(rows, C)
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        strides = x.stride(0), gate.stride(0) if gate is not None else 0
        with on_device(x.device):
            kernels.rms_norm_kernel[(tiles,)](
                x, gate, weight, out, rows, *strides, eps, C=C, BC=BC, R=R, GATED=gated
            )  # fmt: skip
        ctx.save_for_backward(x, gate, weight)
        ctx.strides, ctx.eps = strides, eps
        return out

    @staticmethod
    @first_only
    def backward(ctx: Any, gout: Tensor) -> tuple[Tensor | None, ...]:
        from gt.kernels import fused_kernels as kernels

        x, gate, weight = ctx.saved_tensors
        rows, C = x.shape
        BC, R, _, programs = _tiles(rows, C)
        gx = torch.empty_like(x, memory_format=torch.contiguous_format)
        ggate = None if gate is None else torch.empty_like(gate, memory_format=torch.contiguous_format)
        gweight = x.new_empty(programs, C, dtype=torch.float32)
        with on_device(x.device):
            kernels.rms_norm_gradients_kernel[(programs,)](
                x, gate, weight, gout.contiguous(), gx, ggate, gweight, rows, *ctx.strides, ctx.eps,
                C=C, BC=BC, R=R, GATED=gate is not None,
            )  # fmt: skip
        return gx, gweight.sum(0).to(weight.dtype), ggate, None


def rms_norm(x: Tensor, weight_C: Tensor, eps: float, gate: Tensor | None = None) -> Tensor:
    """Same function as `gt.kernels.fused.rms_norm`, in the dtype of x."""
    if x.dtype == torch.float64:
        return fused.rms_norm(x, weight_C, eps, gate)
    gates = None if gate is None else _rows(gate)
    out: Tensor = _RMSNorm.apply(_rows(x), weight_C.contiguous(), gates, eps)  # type: ignore[no-untyped-call]
    return out.view(x.shape)


class _GatedGroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, gate: Tensor, groups: int, eps: float) -> Tensor:
        from gt.kernels import fused_kernels as kernels

        rows, C = x.shape
        D = C // groups
        BD, R, tiles, _ = _tiles(rows, D)
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        strides = x.stride(0), gate.stride(0)
        with on_device(x.device):
            kernels.group_norm_kernel[(tiles, groups)](
                x, gate, weight, bias, out, rows, *strides, eps, C=C, D=D, BD=BD, R=R
            )
        ctx.save_for_backward(x, gate, weight, bias)
        ctx.strides, ctx.eps, ctx.groups = strides, eps, groups
        return out

    @staticmethod
    @first_only
    def backward(ctx: Any, gout: Tensor) -> tuple[Tensor | None, ...]:
        from gt.kernels import fused_kernels as kernels

        inputs = x, gate, weight, bias = ctx.saved_tensors
        rows, C = x.shape
        D = C // ctx.groups
        BD, R, tiles, _ = _tiles(rows, D)
        programs = min(tiles, -(-PROGRAMS // ctx.groups))
        gx, ggate = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (x, gate))
        gweight, gbias = (x.new_empty(programs, C, dtype=torch.float32) for _ in range(2))
        with on_device(x.device):
            kernels.group_norm_gradients_kernel[(programs, ctx.groups)](
                *inputs, gout.contiguous(), gx, ggate, gweight, gbias, rows, *ctx.strides, ctx.eps,
                C=C, D=D, BD=BD, R=R,
            )  # fmt: skip
        return gx, gweight.sum(0).to(weight.dtype), gbias.sum(0).to(bias.dtype), ggate, None, None


def gated_group_norm(x: Tensor, weight_C: Tensor, bias_C: Tensor, groups: int, eps: float, gate: Tensor) -> Tensor:
    """Same function as `gt.kernels.fused.gated_group_norm`, in the dtype of x."""
    if x.dtype == torch.float64:
        return fused.gated_group_norm(x, weight_C, bias_C, groups, eps, gate)
    vectors = weight_C.contiguous(), bias_C.contiguous()
    out: Tensor = _GatedGroupNorm.apply(_rows(x), *vectors, _rows(gate), groups, eps)  # type: ignore[no-untyped-call]
    return out.view(x.shape)
