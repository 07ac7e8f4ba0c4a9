"""Triton kernels of `gt.kernels.fused`, which `gt.kernels.fused_triton` launches.

Shapes: rows of C channels (or of V logits), R rows at a time. Kernels that sum a gradient over rows go through them in
steps of the whole grid, and each program stores its share. All arithmetic is in fp32.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _silu(x):
    """SiLU, x * sigmoid(x), and its derivative."""
    gate = tl.sigmoid(x)
    return x * gate, gate * (1 + x * (1 - gate))


@triton.jit(do_not_specialize=("rows",))
def token_mix_kernel(
    x_ptr, previous_ptr, base_ptr, shares_ptr, out_ptr, rows,
    M: tl.constexpr, C: tl.constexpr, BC: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """Mixed inputs [M, rows, C]: R rows per program."""
    row = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    channel = tl.arange(0, BC)
    inside = (row < rows)[:, None] & (channel < C)[None, :]
    at = row[:, None] * C + channel[None, :]
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    change = tl.load(previous_ptr + at, mask=inside, other=0.0).to(tl.float32) - x
    for m in tl.static_range(M):
        base = tl.load(base_ptr + m * C + channel, mask=channel < C, other=0.0).to(tl.float32)[None, :]
        share = tl.load(shares_ptr + rows.to(tl.int64) * m * C + at, mask=inside, other=0.0).to(tl.float32)
        out = (x + change * (base + share)).to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + rows.to(tl.int64) * m * C + at, out, mask=inside)


@triton.jit(do_not_specialize=("rows",))
def token_mix_gradients_kernel(
    x_ptr, previous_ptr, base_ptr, shares_ptr, gout_ptr, gx_ptr, gprevious_ptr, gshares_ptr, gbase_ptr, rows,
    M: tl.constexpr, BM: tl.constexpr, C: tl.constexpr, BC: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """Gradients; that of the base [programs, M, C] as shares."""
    channel = tl.arange(0, BC)
    target = tl.arange(0, BM)
    gbase = tl.zeros([BM, BC], tl.float32)
    for start in range(tl.program_id(0) * R, rows, tl.num_programs(0) * R):
        row = (start + tl.arange(0, R)).to(tl.int64)
        inside = (row < rows)[:, None] & (channel < C)[None, :]
        at = row[:, None] * C + channel[None, :]
        x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
        change = tl.load(previous_ptr + at, mask=inside, other=0.0).to(tl.float32) - x
        gx = tl.zeros([R, BC], tl.float32)
        gprevious = tl.zeros([R, BC], tl.float32)
        for m in tl.static_range(M):
            base = tl.load(base_ptr + m * C + channel, mask=channel < C, other=0.0).to(tl.float32)[None, :]
            share = base + tl.load(shares_ptr + rows.to(tl.int64) * m * C + at, mask=inside, other=0.0).to(tl.float32)
            gout = tl.load(gout_ptr + rows.to(tl.int64) * m * C + at, mask=inside, other=0.0).to(tl.float32)
            gx += gout - gout * share
            gprevious += gout * share
            gshare = gout * change
            tl.store(gshares_ptr + rows.to(tl.int64) * m * C + at, gshare.to(gshares_ptr.dtype.element_ty), mask=inside)
            gbase += tl.where((target == m)[:, None], tl.sum(gshare, axis=0)[None, :], 0.0)
        tl.store(gx_ptr + at, gx.to(gx_ptr.dtype.element_ty), mask=inside)
        tl.store(gprevious_ptr + at, gprevious.to(gprevious_ptr.dtype.element_ty), mask=inside)
    at = (tl.program_id(0) * M + target[:, None]) * C + channel[None, :]
    tl.store(gbase_ptr + at, gbase, mask=(target < M)[:, None] & (channel < C)[None, :])


@triton.jit(do_not_specialize=("rows",))
def rms_norm_kernel(
    x_ptr, gate_ptr, weight_ptr, out_ptr, rows, x_stride, gate_stride, eps,
    C: tl.constexpr, BC: tl.constexpr, R: tl.constexpr, GATED: tl.constexpr,
):  # fmt: skip
    """RMSNorm of x or x * silu(gate): R rows per program."""
    row = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    channel = tl.arange(0, BC)
    inside = (row < rows)[:, None] & (channel < C)[None, :]
    x = tl.load(x_ptr + row[:, None] * x_stride + channel[None, :], mask=inside, other=0.0).to(tl.float32)
    if GATED:
        gate = tl.load(gate_ptr + row[:, None] * gate_stride + channel[None, :], mask=inside, other=0.0)
        opened, _ = _silu(gate.to(tl.float32))
        x *= opened
    scale = tl.rsqrt(tl.sum(x * x, axis=1) / C + eps)[:, None]
    weight = tl.load(weight_ptr + channel, mask=channel < C, other=0.0).to(tl.float32)[None, :]
    out = (x * scale * weight).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + row[:, None] * C + channel[None, :], out, mask=inside)


@triton.jit(do_not_specialize=("rows",))
def rms_norm_gradients_kernel(
    x_ptr, gate_ptr, weight_ptr, gout_ptr, gx_ptr, ggate_ptr, gweight_ptr, rows, x_stride, gate_stride, eps,
    C: tl.constexpr, BC: tl.constexpr, R: tl.constexpr, GATED: tl.constexpr,
):  # fmt: skip
    """Gradients; that of the weight [programs, C] as shares."""
    channel = tl.arange(0, BC)
    weight = tl.load(weight_ptr + channel, mask=channel < C, other=0.0).to(tl.float32)[None, :]
    gweight = tl.zeros([BC], tl.float32)
    for start in range(tl.program_id(0) * R, rows, tl.num_programs(0) * R):
        row = (start + tl.arange(0, R)).to(tl.int64)
        inside = (row < rows)[:, None] & (channel < C)[None, :]
        at = row[:, None] * C + channel[None, :]
        x = tl.load(x_ptr + row[:, None] * x_stride + channel[None, :], mask=inside, other=0.0).to(tl.float32)
        gout = tl.load(gout_ptr + at, mask=inside, other=0.0).to(tl.float32)
        normed = x
        if GATED:
            gate = tl.load(gate_ptr + row[:, None] * gate_stride + channel[None, :], mask=inside, other=0.0)
            opened, slope = _silu(gate.to(tl.float32))
            normed = x * opened
        scale = tl.rsqrt(tl.sum(normed * normed, axis=1) / C + eps)[:, None]
        normed *= scale
        gweight += tl.sum(gout * normed, axis=0)
        g = gout * weight
        g = scale * (g - normed * (tl.sum(g * normed, axis=1) / C)[:, None])
        if GATED:
            tl.store(ggate_ptr + at, (g * x * slope).to(ggate_ptr.dtype.element_ty), mask=inside)
            g *= opened
        tl.store(gx_ptr + at, g.to(gx_ptr.dtype.element_ty), mask=inside)
    tl.store(gweight_ptr + tl.program_id(0) * C + channel, gweight, mask=channel < C)


@triton.jit(do_not_specialize=("rows",))
def group_norm_kernel(
    x_ptr, gate_ptr, weight_ptr, bias_ptr, out_ptr, rows, x_stride, gate_stride, eps,
    C: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """GroupNorm times silu(gate): R rows of one group of D channels per program."""
    row = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    channel = tl.program_id(1) * D + tl.arange(0, BD)
    member = (tl.arange(0, BD) < D)[None, :]
    inside = (row < rows)[:, None] & member
    x = tl.load(x_ptr + row[:, None] * x_stride + channel[None, :], mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(gate_ptr + row[:, None] * gate_stride + channel[None, :], mask=inside, other=0.0).to(tl.float32)
    x = tl.where(member, x - (tl.sum(x, axis=1) / D)[:, None], 0.0)
    normed = x * tl.rsqrt(tl.sum(x * x, axis=1) / D + eps)[:, None]
    weight = tl.load(weight_ptr + channel, mask=tl.arange(0, BD) < D, other=0.0).to(tl.float32)[None, :]
    bias = tl.load(bias_ptr + channel, mask=tl.arange(0, BD) < D, other=0.0).to(tl.float32)[None, :]
    opened, _ = _silu(gate)
    out = ((normed * weight + bias) * opened).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + row[:, None] * C + channel[None, :], out, mask=inside)


@triton.jit(do_not_specialize=("rows",))
def group_norm_gradients_kernel(
    x_ptr, gate_ptr, weight_ptr, bias_ptr, gout_ptr, gx_ptr, ggate_ptr, gweight_ptr, gbias_ptr,
    rows, x_stride, gate_stride, eps,
    C: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """Gradients; those of weight and bias [programs, C] as shares."""
    channel = tl.program_id(1) * D + tl.arange(0, BD)
    member = (tl.arange(0, BD) < D)[None, :]
    weight = tl.load(weight_ptr + channel, mask=tl.arange(0, BD) < D, other=0.0).to(tl.float32)[None, :]
    bias = tl.load(bias_ptr + channel, mask=tl.arange(0, BD) < D, other=0.0).to(tl.float32)[None, :]
    gweight = tl.zeros([BD], tl.float32)
    gbias = tl.zeros([BD], tl.float32)
    for start in range(tl.program_id(0) * R, rows, tl.num_programs(0) * R):
        row = (start + tl.arange(0, R)).to(tl.int64)
        inside = (row < rows)[:, None] & member
        at = row[:, None] * C + channel[None, :]
        x = tl.load(x_ptr + row[:, None] * x_stride + channel[None, :], mask=inside, other=0.0).to(tl.float32)
        gate = tl.load(gate_ptr + row[:, None] * gate_stride + channel[None, :], mask=inside, other=0.0)
        gout = tl.load(gout_ptr + at, mask=inside, other=0.0).to(tl.float32)
        x = tl.where(member, x - (tl.sum(x, axis=1) / D)[:, None], 0.0)
        scale = tl.rsqrt(tl.sum(x * x, axis=1) / D + eps)[:, None]
        normed = x * scale
        opened, slope = _silu(gate.to(tl.float32))
        ggate = gout * (normed * weight + bias) * slope
        tl.store(ggate_ptr + at, ggate.to(ggate_ptr.dtype.element_ty), mask=inside)
        g = gout * opened
        gbias += tl.sum(g, axis=0)
        gweight += tl.sum(g * normed, axis=0)
        g *= weight
        g -= (tl.sum(g, axis=1) / D)[:, None] + normed * (tl.sum(g * normed, axis=1) / D)[:, None]
        tl.store(gx_ptr + at, (g * scale).to(gx_ptr.dtype.element_ty), mask=inside)
    at = tl.program_id(0) * C + channel
    tl.store(gweight_ptr + at, gweight, mask=tl.arange(0, BD) < D)
    tl.store(gbias_ptr + at, gbias, mask=tl.arange(0, BD) < D)


@triton.jit
def cross_entropy_kernel(
    logits_ptr, targets_ptr, losses_ptr, maxima_ptr, log_sums_ptr, stride, V: tl.constexpr, BV: tl.constexpr
):  # fmt: skip
    """The loss of one row per program, its maximum and the logarithm of the sum of exponentials below it."""
    row = tl.program_id(0).to(tl.int64)
    largest = tl.full([BV], float("-inf"), tl.float32)
    total = tl.zeros([BV], tl.float32)
    for start in range(0, V, BV):
        at = start + tl.arange(0, BV)
        logits = tl.load(logits_ptr + row * stride + at, mask=at < V, other=float("-inf")).to(tl.float32)
        # Nothing but -inf so far: 0 keeps the difference from being NaN.
        larger = tl.maximum(largest, logits, propagate_nan=tl.PropagateNan.ALL)
        reference = tl.where(larger == float("-inf"), 0.0, larger)
        total = total * tl.exp(largest - reference) + tl.exp(logits - reference)
        largest = larger
    maximum = tl.max(largest, axis=0)
    log_sum = tl.log(tl.sum(total * tl.exp(largest - maximum), axis=0))
    target = tl.load(logits_ptr + row * stride + tl.load(targets_ptr + row)).to(tl.float32)
    # Apart: beside a large maximum their sum would lose digits.
    tl.store(losses_ptr + row, maximum - target + log_sum)
    tl.store(maxima_ptr + row, maximum)
    tl.store(log_sums_ptr + row, log_sum)


@triton.jit
def cross_entropy_gradients_kernel(
    logits_ptr, targets_ptr, maxima_ptr, log_sums_ptr, scales_ptr, glogits_ptr, stride,
    V: tl.constexpr, BV: tl.constexpr, WEIGHTED: tl.constexpr,
):  # fmt: skip
    """(softmax - one at the target) * scale, each row's own or one for all: BV logits of one row per program."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BV + tl.arange(0, BV)
    logits = tl.load(logits_ptr + row * stride + at, mask=at < V, other=0.0).to(tl.float32)
    share = tl.exp(logits - tl.load(maxima_ptr + row) - tl.load(log_sums_ptr + row))
    scale = tl.load(scales_ptr + (row if WEIGHTED else 0))
    g = (share - tl.where(at == tl.load(targets_ptr + row), 1.0, 0.0)) * scale
    tl.store(glogits_ptr + row * V + at, g.to(glogits_ptr.dtype.element_ty), mask=at < V)
