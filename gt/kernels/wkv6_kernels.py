"""Triton kernels of WKV6. `gt.kernels.wkv6_triton` launches them and explains the plan.

Shapes: C tokens of a chunk (a power of two), K key channels (in slices of BK), V value channels (in slices or padded
to BV); all row-major and contiguous. Tokens past the end have r = k = v = w = 0: they leave the state as it is.

Pairs of a chunk are split by the smallest aligned block of 2s = 2^(level + 1) tokens that holds both: the query lies in
its second half and the key in its first, and their decay is exp(before(query) + after(key)): sums of log-decays inside
the two halves of s tokens. Every exponent is at most 0 whatever the decay, and none is a difference of cumulative sums,
which would cancel. One tile per level holds the decayed queries in the rows of second halves and the decayed keys in
those of first halves; its product with itself has the scores of all pairs of the level. The sums are products with
matrices of zeros and ones, which are exact once a summand is split into parts of 8 bits; the gradients of log-decays
are products with their transposes, again without a difference.
"""

from __future__ import annotations

import triton
import triton.language as tl

# exp(-128) is 0 in fp32: a bound that changes no value, and keeps sums of log-decays finite.
_LOWEST = tl.constexpr(-128.0)

_SIZES = ("T", "H", "N")  # one compiled kernel serves every length and number of heads


@triton.jit
def _load(ptr, row, column, rows, columns, stride):
    """Rows [0, rows) and columns [0, columns) of a tile in fp32; zero elsewhere."""
    inside = ((row >= 0) & (row < rows))[:, None] & (column < columns)[None, :]
    return tl.load(ptr + row[:, None] * stride + column[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _store(ptr, tile, row, column, rows, columns, stride):
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    tl.store(ptr + row[:, None] * stride + column[None, :], tile.to(ptr.dtype.element_ty), mask=inside)


@triton.jit
def _load_decay(ptr, row, column, rows, columns, stride):
    w = _load(ptr, row, column, rows, columns, stride)
    return tl.where(w < _LOWEST, _LOWEST, w)  # written so that NaN stays NaN


@triton.jit
def _dot(a, b, DTYPE: tl.constexpr, PRECISION: tl.constexpr):
    return tl.dot(a.to(DTYPE), b.to(DTYPE), input_precision=PRECISION)


@triton.jit
def _masked_sums(mask, x, PARTS: tl.constexpr):
    """The product of a mask [C, C] and x [C, BK] in fp32, taking 8 bits of x at a time to tensor cores."""
    ones = tl.where(mask, 1.0, 0.0).to(tl.bfloat16)
    part = x.to(tl.bfloat16)
    sums = tl.dot(ones, part)
    for _ in tl.static_range(PARTS - 1):
        x = x - part.to(tl.float32)
        part = x.to(tl.bfloat16)
        sums = tl.dot(ones, part, sums)
    return sums


@triton.jit
def _is_query(row, LEVEL: tl.constexpr):
    """True in the second half of each block of 2^(LEVEL + 1) tokens, [C, 1]."""
    return ((row >> LEVEL) & 1 != 0)[:, None]


@triton.jit
def _is_pair(row, LEVEL: tl.constexpr):
    """True for two tokens in different halves of the same block of 2^(LEVEL + 1), [C, C]."""
    return ((row[:, None] ^ row[None, :]) >> LEVEL) == 1


@triton.jit
def _is_between(token, m, LEVEL: tl.constexpr):
    """Is the log-decay of m between the token and the middle of its block of 2^(LEVEL + 1) tokens?"""
    between = ((token >> LEVEL) & 1 != 0) & (m < token) | ((token >> LEVEL) & 1 == 0) & (m > token)
    return (((token ^ m) >> LEVEL) == 0) & between


@triton.jit(do_not_specialize=_SIZES)
def updates_kernel(
    k_ptr, v_ptr, w_ptr, updates_ptr, decays_ptr, T, H, N,
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    LATER: tl.constexpr, SPLIT: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """What a chunk adds to the state, and its total log-decay: one program per chunk, head and slice of K.

    With LATER, k and v are keys and values, which decay by what comes after them; without, they are queries and
    gradients of outputs, which decay by what comes before, and the sum is what the chunk adds to the state's gradient.
    """
    pid = tl.program_id(0) // tl.cdiv(K, BK)
    n = pid % N
    bh = (pid // N).to(tl.int64)
    token = (bh // H * T + n * C) * H + bh % H
    rows = T - n * C
    channel = tl.program_id(0) % tl.cdiv(K, BK) * BK + tl.arange(0, BK)
    row, value = tl.arange(0, C), tl.arange(0, BV)
    w = _load_decay(w_ptr + token * K, row, channel, rows, K, H * K)
    k = _load(k_ptr + token * K, row, channel, rows, K, H * K)
    v = _load(v_ptr + token * V, row, value, rows, V, H * V)
    earlier, later = row[None, :] < row[:, None], row[None, :] > row[:, None]
    sums = _masked_sums(later if LATER else earlier, w, PARTS)
    keys = tl.trans(k * tl.exp(sums))
    update = _dot(keys, v, DTYPE, PRECISION)
    if SPLIT:  # the state is kept in fp32: what rounding the keys took is added
        update += _dot(keys - keys.to(DTYPE).to(tl.float32), v, DTYPE, PRECISION)
    _store(updates_ptr + (bh * N + n) * K * V, update, channel, value, K, V, V)
    tl.store(decays_ptr + (bh * N + n) * K + channel, tl.sum(w, axis=0), mask=channel < K)


@triton.jit(do_not_specialize=("N",))
def scan_kernel(
    updates_ptr, decays_ptr, first_ptr, states_ptr, last_ptr, N,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, STAGES: tl.constexpr,
    HAS_FIRST: tl.constexpr, HAS_LAST: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """The states before every update, and the one after the last: BK rows of a state per program.

    A step is a multiplication and an addition per element; what it reads is fetched STAGES - 1 chunks ahead.
    """
    slices: tl.constexpr = (K + BK - 1) // BK
    bh = (tl.program_id(0) // slices).to(tl.int64)
    channel = tl.program_id(0) % slices * BK + tl.arange(0, BK)
    value = tl.arange(0, BV)
    state = tl.zeros([BK, BV], tl.float32)
    if HAS_FIRST:
        state = _load(first_ptr + bh * K * V, channel, value, K, V, V)
    for turn in tl.range(0, N, num_stages=STAGES):
        chunk = bh * N + (N - 1 - turn if REVERSE else turn)
        update = _load(updates_ptr + chunk * K * V, channel, value, K, V, V)
        decay = tl.load(decays_ptr + chunk * K + channel, mask=channel < K, other=0.0)
        _store(states_ptr + chunk * K * V, state, channel, value, K, V, V)
        state = state * tl.exp(decay)[:, None] + update
    if HAS_LAST:
        _store(last_ptr + bh * K * V, state, channel, value, K, V, V)


@triton.jit(do_not_specialize=_SIZES)
def walk_kernel(
    k_ptr, v_ptr, w_ptr, first_ptr, states_ptr, last_ptr, T, H, N,
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, STAGES: tl.constexpr,
    HAS_FIRST: tl.constexpr, HAS_LAST: tl.constexpr,
    LATER: tl.constexpr, SPLIT: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Both of the above for one head and BK rows of its state, which stays in registers from chunk to chunk.

    What chunks add never reaches memory; the chunks' own inputs are fetched STAGES - 1 chunks ahead.
    """
    slices: tl.constexpr = (K + BK - 1) // BK
    bh = (tl.program_id(0) // slices).to(tl.int64)
    channel = tl.program_id(0) % slices * BK + tl.arange(0, BK)
    row, value = tl.arange(0, C), tl.arange(0, BV)
    earlier, later = row[None, :] < row[:, None], row[None, :] > row[:, None]
    state = tl.zeros([BK, BV], tl.float32)
    if HAS_FIRST:
        state = _load(first_ptr + bh * K * V, channel, value, K, V, V)
    for turn in tl.range(0, N, num_stages=STAGES):
        n = turn if LATER else N - 1 - turn
        token = (bh // H * T + n * C) * H + bh % H
        rows = T - n * C
        w = _load_decay(w_ptr + token * K, row, channel, rows, K, H * K)
        k = _load(k_ptr + token * K, row, channel, rows, K, H * K)
        v = _load(v_ptr + token * V, row, value, rows, V, H * V)
        _store(states_ptr + (bh * N + n) * K * V, state, channel, value, K, V, V)
        keys = tl.trans(k * tl.exp(_masked_sums(later if LATER else earlier, w, PARTS)))
        state *= tl.exp(tl.sum(tl.trans(w), axis=1))[:, None]
        state += _dot(keys, v, DTYPE, PRECISION)
        if SPLIT:
            state += _dot(keys - keys.to(DTYPE).to(tl.float32), v, DTYPE, PRECISION)
    if HAS_LAST:
        _store(last_ptr + bh * K * V, state, channel, value, K, V, V)


@triton.jit
def _outputs(
    chunk,
    r_ptr, k_ptr, v_ptr, w_ptr, u_ptr, starts_ptr, scores_ptr, y_ptr, T, H, N,
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, LEVELS: tl.constexpr,
    SAVE: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Outputs of one chunk and head."""
    n = chunk % N
    bh = (chunk // N).to(tl.int64)
    token = (bh // H * T + n * C) * H + bh % H
    rows = T - n * C
    row, value = tl.arange(0, C), tl.arange(0, BV)
    query, key = row[:, None], row[None, :]
    y = tl.zeros([C, BV], tl.float32)
    scores = tl.zeros([C, C], tl.float32)
    bonus = tl.zeros([C], tl.float32)
    for start in range(0, K, BK):
        channel = start + tl.arange(0, BK)
        r = _load(r_ptr + token * K, row, channel, rows, K, H * K)
        k = _load(k_ptr + token * K, row, channel, rows, K, H * K)
        w = _load_decay(w_ptr + token * K, row, channel, rows, K, H * K)
        u = tl.load(u_ptr + bh % H * K + channel, mask=channel < K, other=0.0).to(tl.float32)
        state = _load(starts_ptr + (bh * N + n) * K * V, channel, value, K, V, V)
        bonus += tl.sum(r * u[None, :] * k, axis=1)
        y += _dot(r * tl.exp(_masked_sums(key < query, w, PARTS)), state, DTYPE, PRECISION)
        for level in tl.static_range(LEVELS):
            decayed = tl.where(_is_query(row, level), r, k)
            if level > 0:
                decayed *= tl.exp(_masked_sums(_is_between(query, key, level), w, PARTS))
            pairs = _dot(decayed, tl.trans(decayed), DTYPE, PRECISION)
            scores += tl.where(_is_pair(row, level), pairs, 0.0)
    scores = tl.where(key < query, scores, tl.where(key == query, bonus[:, None], 0.0))
    v = _load(v_ptr + token * V, row, value, rows, V, H * V)
    y += _dot(scores, v, DTYPE, PRECISION)
    _store(y_ptr + token * V, y, row, value, rows, V, H * V)
    if SAVE:
        _store(scores_ptr + (bh * N + n) * C * C, scores, row, row, C, C, C)


@triton.jit(do_not_specialize=_SIZES)
def outputs_kernel(
    r_ptr, k_ptr, v_ptr, w_ptr, u_ptr, starts_ptr, scores_ptr, y_ptr, left_ptr, T, H, N,
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, LEVELS: tl.constexpr,
    SAVE: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Outputs of one chunk and head per program: from the state at its start, and from the tokens inside it.

    Where `left` is given, of the chunks that it lists after their number: programs share them.
    """
    if left_ptr is None:
        _outputs(
            tl.program_id(0), r_ptr, k_ptr, v_ptr, w_ptr, u_ptr, starts_ptr, scores_ptr, y_ptr, T, H, N, K, V, C, BK,
            BV, LEVELS, SAVE, DTYPE, PRECISION, PARTS,
        )  # fmt: skip
    else:
        for i in tl.range(tl.program_id(0), tl.load(left_ptr), tl.num_programs(0)):
            chunk = tl.load(left_ptr + 1 + i)
            _outputs(
                chunk, r_ptr, k_ptr, v_ptr, w_ptr, u_ptr, starts_ptr, scores_ptr, y_ptr, T, H, N, K, V, C,
                BK, BV, LEVELS, SAVE, DTYPE, PRECISION, PARTS,
            )  # fmt: skip


@triton.jit
def _gradients(
    chunk,
    r_ptr, k_ptr, v_ptr, w_ptr, u_ptr, starts_ptr, scores_ptr, gy_ptr, gends_ptr,
    gr_ptr, gk_ptr, gv_ptr, gw_ptr, gu_ptr, T, H, N,
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, LEVELS: tl.constexpr,
    DTYPE: tl.constexpr, PRECISION: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Gradients of one chunk and head."""
    n = chunk % N
    bh = (chunk // N).to(tl.int64)
    token = (bh // H * T + n * C) * H + bh % H
    rows = T - n * C
    # Adds 0, which the compiler does not know: masks that it keeps from chunk to chunk leave too few registers.
    row, value = tl.arange(0, C) + tl.minimum(chunk, 0), tl.arange(0, BV)
    query, key = row[:, None], row[None, :]
    v = _load(v_ptr + token * V, row, value, rows, V, H * V)
    gy = _load(gy_ptr + token * V, row, value, rows, V, H * V)
    scores = _load(scores_ptr + (bh * N + n) * C * C, row, row, C, C, C)
    gv = _dot(tl.trans(scores), gy, DTYPE, PRECISION)
    gbonus = tl.sum(gy * v, axis=1)[:, None]
    # Symmetric: row by row, a pair's gradient is needed by its query and by its key.
    gscores = _dot(gy, tl.trans(v), DTYPE, PRECISION)
    gscores = tl.where(key < query, gscores, _dot(v, tl.trans(gy), DTYPE, PRECISION)).to(DTYPE)
    for start in range(0, K, BK):
        channel = start + tl.arange(0, BK)
        r = _load(r_ptr + token * K, row, channel, rows, K, H * K)
        k = _load(k_ptr + token * K, row, channel, rows, K, H * K)
        w = _load_decay(w_ptr + token * K, row, channel, rows, K, H * K)
        state = _load(starts_ptr + (bh * N + n) * K * V, channel, value, K, V, V)
        gend = _load(gends_ptr + (bh * N + n) * K * V, channel, value, K, V, V)

        # Through the state at the chunk's start and the one at its end.
        decay = tl.exp(_masked_sums(key < query, w, PARTS))
        gr = _dot(gy, tl.trans(state), DTYPE, PRECISION) * decay
        gw = _masked_sums(key > query, r * gr, PARTS)
        decay = tl.exp(_masked_sums(key > query, w, PARTS))
        gv += _dot(k * decay, gend, DTYPE, PRECISION)
        gk = _dot(v, tl.trans(gend), DTYPE, PRECISION) * decay
        gw += _masked_sums(key < query, k * gk, PARTS)
        gw += (tl.sum(state * gend, axis=1) * tl.exp(tl.sum(w, axis=0)))[None, :]

        for level in tl.static_range(LEVELS):
            is_query = _is_query(row, level)
            decayed = tl.where(is_query, r, k)
            gpairs = tl.where(_is_pair(row, level), gscores, 0.0)
            if level > 0:
                decay = tl.exp(_masked_sums(_is_between(query, key, level), w, PARTS))
                decayed *= decay
                g = _dot(gpairs, decayed, DTYPE, PRECISION)
                gw += _masked_sums(_is_between(key, query, level), g * decayed, PARTS)
                g *= decay
            else:
                g = _dot(gpairs, decayed, DTYPE, PRECISION)
            gr += tl.where(is_query, g, 0.0)
            gk += tl.where(is_query, 0.0, g)

        # The bonus of the current token.
        u = tl.load(u_ptr + bh % H * K + channel, mask=channel < K, other=0.0).to(tl.float32)[None, :]
        tl.store(gu_ptr + (bh * N + n) * K + channel, tl.sum(gbonus * r * k, axis=0), mask=channel < K)
        _store(gr_ptr + token * K, gr + gbonus * u * k, row, channel, rows, K, H * K)
        _store(gk_ptr + token * K, gk + gbonus * u * r, row, channel, rows, K, H * K)
        _store(gw_ptr + token * K, gw, row, channel, rows, K, H * K)
    _store(gv_ptr + token * V, gv, row, value, rows, V, H * V)


@triton.jit(do_not_specialize=_SIZES)
def gradients_kernel(
    r_ptr, k_ptr, v_ptr, w_ptr, u_ptr, starts_ptr, scores_ptr, gy_ptr, gends_ptr,
    gr_ptr, gk_ptr, gv_ptr, gw_ptr, gu_ptr, left_ptr, T, H, N,
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, LEVELS: tl.constexpr,
    DTYPE: tl.constexpr, PRECISION: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Gradients of one chunk and head per program; that of u as a partial sum per chunk.

    Where `left` is given, of the chunks that it lists after their number: programs share them.
    """
    if left_ptr is None:
        _gradients(
            tl.program_id(0), r_ptr, k_ptr, v_ptr, w_ptr, u_ptr, starts_ptr, scores_ptr, gy_ptr, gends_ptr, gr_ptr,
            gk_ptr, gv_ptr, gw_ptr, gu_ptr, T, H, N, K, V, C, BK, BV, LEVELS, DTYPE, PRECISION, PARTS,
        )  # fmt: skip
    else:
        for i in tl.range(tl.program_id(0), tl.load(left_ptr), tl.num_programs(0)):
            chunk = tl.load(left_ptr + 1 + i)
            _gradients(
                chunk, r_ptr, k_ptr, v_ptr, w_ptr, u_ptr, starts_ptr, scores_ptr, gy_ptr, gends_ptr, gr_ptr,
                gk_ptr, gv_ptr, gw_ptr, gu_ptr, T, H, N, K, V, C, BK, BV, LEVELS, DTYPE, PRECISION, PARTS,
            )  # fmt: skip
