"""Triton kernels of WKV6 for chunks in which no channel decays much: one product for all pairs of a chunk.

The decay of a pair is exp(before(query) - half) exp(half - before(key) - w(key)), where `half` is half of the chunk's
log-decay, channel by channel. No exponent exceeds that half, so nothing overflows while it is at most 72. Chunks that
decay more are left to `wkv6_kernels`: `done` [chunks] is 0 for them, and `left` has their number and their indices.

Shapes as in `wkv6_kernels`; K and V are not sliced, operands of products are bf16.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import libdevice

from gt.kernels.wkv6_kernels import _SIZES, _load, _masked_sums, _store

# exp(72) is 2e31: with any activation far from the largest bf16 number, and its reciprocal far from the smallest.
_GENTLE = tl.constexpr(-144.0)
# exp(-24) is 4e-11 of what a token forgets, below the rounding of fp32; one such token must not fill a chunk's range.
_FORGOTTEN = tl.constexpr(-24.0)
# Decays are powers of 2, of libdevice: the instruction alone, without care for numbers below 1e-38.
_LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def _tile(ptr, row, column, rows, columns, stride):
    """Rows [0, rows) and columns [0, columns) of a tile in its own dtype; zero elsewhere."""
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    return tl.load(ptr + row[:, None] * stride + column[None, :], mask=inside, other=0.0)


@triton.jit
def _decays(w_ptr, row, column, rows, columns, stride):
    """Logarithms to base 2 of decays: of tokens [C, BK], and of half of the chunk [BK]."""
    w = _load(w_ptr, row, column, rows, columns, stride)
    w = tl.where(w < _FORGOTTEN, _FORGOTTEN, w) * _LOG2_E  # written so that NaN stays NaN
    return w, 0.5 * tl.sum(w, axis=0)


@triton.jit(do_not_specialize=_SIZES)
def outputs_kernel(
    r_ptr, k_ptr, v_ptr, w_ptr, u_ptr, starts_ptr, scores_ptr, y_ptr, done_ptr, left_ptr, T, H, N,
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    SAVE: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Outputs of one chunk and head per program, unless it decays too much: then it is left, and listed."""
    chunk = tl.program_id(0)
    n = chunk % N
    bh = (chunk // N).to(tl.int64)
    token = (bh // H * T + n * C) * H + bh % H
    rows = T - n * C
    row, channel, value = tl.arange(0, C), tl.arange(0, BK), tl.arange(0, BV)
    query, key = row[:, None], row[None, :]
    w, half = _decays(w_ptr + token * K, row, channel, rows, K, H * K)
    r = _load(r_ptr + token * K, row, channel, rows, K, H * K)
    k = _load(k_ptr + token * K, row, channel, rows, K, H * K)
    done = tl.min((2.0 * half >= _GENTLE * _LOG2_E).to(tl.int32), axis=0)
    tl.store(done_ptr + chunk, done)
    if done == 0:
        tl.store(left_ptr + 1 + tl.atomic_add(left_ptr, 1), chunk)
    else:
        v = _tile(v_ptr + token * V, row, value, rows, V, H * V)
        state = _tile(starts_ptr + (bh * N + n) * K * V, channel, value, K, V, V)
        centred = _masked_sums(key < query, w, PARTS) - half[None, :]
        u = tl.load(u_ptr + bh % H * K + channel, mask=channel < K, other=0.0).to(tl.float32)
        bonus = tl.sum(r * u[None, :] * k, axis=1)
        queries = r * libdevice.exp2(centred)
        keys = k * libdevice.exp2(-centred - w)
        scores = tl.dot(queries.to(tl.bfloat16), tl.trans(keys.to(tl.bfloat16)))
        scores = tl.where(key < query, scores, tl.where(key == query, bonus[:, None], 0.0)).to(tl.bfloat16)
        y = tl.dot((queries * libdevice.exp2(half)[None, :]).to(tl.bfloat16), state)
        y = tl.dot(scores, v, y)
        _store(y_ptr + token * V, y, row, value, rows, V, H * V)
        if SAVE:
            _store(scores_ptr + chunk.to(tl.int64) * C * C, scores, row, row, C, C, C)


@triton.jit(do_not_specialize=_SIZES)
def gradients_kernel(
    r_ptr, k_ptr, v_ptr, w_ptr, u_ptr, starts_ptr, scores_ptr, gy_ptr, gends_ptr,
    gr_ptr, gk_ptr, gv_ptr, gw_ptr, gu_ptr, done_ptr, T, H, N,
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Gradients of one chunk and head per program, if it is done; that of u as a partial sum per chunk."""
    chunk = tl.program_id(0)
    n = chunk % N
    bh = (chunk // N).to(tl.int64)
    token = (bh // H * T + n * C) * H + bh % H
    rows = T - n * C
    row, channel, value = tl.arange(0, C), tl.arange(0, BK), tl.arange(0, BV)
    query, key = row[:, None], row[None, :]
    if tl.load(done_ptr + chunk) != 0:
        state = _tile(starts_ptr + (bh * N + n) * K * V, channel, value, K, V, V)
        gend = _tile(gends_ptr + (bh * N + n) * K * V, channel, value, K, V, V)
        v = _tile(v_ptr + token * V, row, value, rows, V, H * V)
        gy = _tile(gy_ptr + token * V, row, value, rows, V, H * V)
        scores = _tile(scores_ptr + chunk.to(tl.int64) * C * C, row, row, C, C, C)
        through = tl.sum(state.to(tl.float32) * gend.to(tl.float32), axis=1)
        gbonus = tl.sum(gy.to(tl.float32) * v.to(tl.float32), axis=1)[:, None]
        gqueries = tl.dot(gy, tl.trans(state))
        gkeys = tl.dot(v, tl.trans(gend))
        lower = tl.where(key < query, tl.dot(gy, tl.trans(v)), 0.0).to(tl.bfloat16)
        upper = tl.where(key > query, tl.dot(v, tl.trans(gy)), 0.0).to(tl.bfloat16)
        gv = tl.dot(tl.trans(scores), gy)

        w, half = _decays(w_ptr + token * K, row, channel, rows, K, H * K)
        centred = _masked_sums(key < query, w, PARTS) - half[None, :]
        r = _load(r_ptr + token * K, row, channel, rows, K, H * K)
        k = _load(k_ptr + token * K, row, channel, rows, K, H * K)
        u = tl.load(u_ptr + bh % H * K + channel, mask=channel < K, other=0.0).to(tl.float32)[None, :]
        tl.store(gu_ptr + (bh * N + n) * K + channel, tl.sum(gbonus * r * k, axis=0), mask=channel < K)
        r_decay, k_decay = libdevice.exp2(centred), libdevice.exp2(-centred - w)
        # Rounded once: what pairs give to the gradient of w is a difference, in which they must cancel.
        queries, keys = (r * r_decay).to(tl.bfloat16), (k * k_decay).to(tl.bfloat16)
        rest = libdevice.exp2(half)[None, :]
        gkeys *= rest
        gv = tl.dot((keys.to(tl.float32) * rest).to(tl.bfloat16), gend, gv)
        _store(gv_ptr + token * V, gv, row, value, rows, V, H * V)
        through = through * libdevice.exp2(2.0 * half) + tl.sum(keys.to(tl.float32) * gkeys, axis=0)
        gqueries = tl.dot(lower, keys, gqueries * rest)
        _store(gr_ptr + token * K, gqueries * r_decay + gbonus * u * k, row, channel, rows, K, H * K)
        gkeys = tl.dot(upper, queries, gkeys)
        _store(gk_ptr + token * K, gkeys * k_decay + gbonus * u * r, row, channel, rows, K, H * K)
        gkeys *= keys.to(tl.float32)
        # To the last bit of fp32: where every decay is strong this is small beside the neighbours that cancel in it.
        gw = _masked_sums(key > query, gqueries * queries.to(tl.float32) - gkeys, 3) - gkeys + through[None, :]
        _store(gw_ptr + token * K, gw, row, channel, rows, K, H * K)
