// Matrix products of a layer's size in fp32: what multiplies a few hundred tokens with a weight, or with their gradient.
#pragma once

#include <algorithm>
#include <memory>

#include "common.h"

// A matrix of any layout: the element at (i, j) is at[i * row + j * column].
struct Matrix {
    const float* at;
    long row, column;
};

inline Matrix plain(const float* at, long width) { return {at, width, 1}; }

inline Matrix turned(const float* at, long width) { return {at, 1, width}; }

namespace matrix {

constexpr long ROWS = 6, COLUMNS = 16;  // of a tile: its sums and what they are made of fill sixteen registers
constexpr long DEPTH = 256;  // of a panel: 16 KB, half of the first-level cache

// c[i][j] (+)= sum over k of a[i * row + k * column] * panel[k][j] for a tile of COUNT rows.
template <int COUNT>
inline void tile(long K, const float* a, long row, long column, const float* panel, float* c, long ldc, bool add) {
    float8 sums[COUNT][2];
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i) {
        sums[i][0] = add ? load8(c + i * ldc) : all8(0);
        sums[i][1] = add ? load8(c + i * ldc + 8) : all8(0);
    }
    for (long k = 0; k < K; ++k) {
        const float8 left = load8(panel + k * COLUMNS), right = load8(panel + k * COLUMNS + 8);
#pragma GCC unroll 8
        for (int i = 0; i < COUNT; ++i) {
            const float8 value = all8(a[i * row + k * column]);
            sums[i][0] += value * left;
            sums[i][1] += value * right;
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i) {
        store8(c + i * ldc, sums[i][0]);
        store8(c + i * ldc + 8, sums[i][1]);
    }
}

using Tile = void (*)(long, const float*, long, long, const float*, float*, long, bool);
constexpr Tile TILES[ROWS + 1] = {nullptr, tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

// Columns j to j + count of b, rows k to k + depth, side by side and padded with zeros.
inline void fill_panel(const Matrix& b, long k, long depth, long j, long count, float* __restrict__ panel) {
    const float* from = b.at + k * b.row + j * b.column;
    if (count < COLUMNS) std::fill(panel, panel + depth * COLUMNS, 0.f);
    if (b.column == 1) {
        if (count == COLUMNS) {
            for (long i = 0; i < depth; ++i) std::memcpy(panel + i * COLUMNS, from + i * b.row, sizeof(float) * COLUMNS);
        } else {
            for (long i = 0; i < depth; ++i) std::copy_n(from + i * b.row, count, panel + i * COLUMNS);
        }
        return;
    }
    if (b.row == 1) return transpose(count, depth, from, b.column, panel, COLUMNS);
    for (long i = 0; i < depth; ++i)
        for (long n = 0; n < count; ++n) panel[i * COLUMNS + n] = from[i * b.row + n * b.column];
}

// Column k of a, at `from`, to where its tiles read it: ROWS rows after ROWS rows, of each all K columns.
inline void copy_column(long M, long K, const float* from, long row, long k, float* to) {
    long i = 0;
    to += k * ROWS;
    if (row == 1 && k + 1 < K)  // eight at a time: the two too many are overwritten by the next column
        for (; i + 8 <= M; i += ROWS) store8(to + i * K, load8(from + i));
    for (; i < M; ++i) to[i / ROWS * ROWS * K + i % ROWS] = from[i * row];
}

inline void ask_for(const Matrix& m, long rows, long columns) {
    if (m.column != 1) return ask_for({m.at, m.column, m.row}, columns, rows);
    for (long i = 0; i < rows; ++i) ::ask_for(m.at + i * m.row, columns);
}

}  // namespace matrix

// c [M, N] = a [M, K] b [K, N], or added to what c holds. Not compiled into each of its thirty callers: that would take longer.
[[gnu::noinline]] inline void multiply(long M, long N, long K, Matrix a, Matrix b, float* c, long ldc, int threads, bool add = false) {
    using namespace matrix;
    if (K == 0 && !add)  // a sum of nothing: no panel below writes it
        for (long i = 0; i < M; ++i) std::fill_n(c + i * ldc, N, 0.f);
    std::unique_ptr<float[]> copied;
    long block = 0;  // of rows in `copied`, which lie side by side for every k
    if (a.column != 1) {
        copied.reset(new float[(M + ROWS - 1) / ROWS * ROWS * K]);
        for (long k = 0; k < K; ++k) copy_column(M, K, a.at + k * a.column, a.row, k, copied.get());
        block = ROWS;
    }
    if (!block) ask_for(a, M, K);
    ask_for(b, K, N);
    const long panels = (N + COLUMNS - 1) / COLUMNS;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long p = 0; p < panels; ++p) {
        alignas(32) float panel[DEPTH * COLUMNS], edge[ROWS * COLUMNS];
        const long j = p * COLUMNS, columns = std::min(COLUMNS, N - j);
        for (long k = 0; k < K; k += DEPTH) {
            const long depth = std::min(DEPTH, K - k);
            const bool more = add || k > 0;
            fill_panel(b, k, depth, j, columns, panel);
            for (long i = 0; i < M; i += ROWS) {
                const long rows = std::min(ROWS, M - i);
                const float* from = block ? copied.get() + i * K + k * ROWS : a.at + i * a.row + k;
                const long row = block ? 1 : a.row, column = block ? ROWS : 1;
                float* to = c + i * ldc + j;
                for (long r = ROWS; r < std::min(2 * ROWS, M - i); ++r) __builtin_prefetch(to + r * ldc, 1);
                if (columns == COLUMNS) {
                    TILES[rows](depth, from, row, column, panel, to, ldc, more);
                    continue;
                }
                for (long r = 0; r < rows && more; ++r) std::copy_n(to + r * ldc, columns, edge + r * COLUMNS);
                TILES[rows](depth, from, row, column, panel, edge, COLUMNS, more);
                for (long r = 0; r < rows; ++r) std::copy_n(edge + r * COLUMNS, columns, to + r * ldc);
            }
        }
    }
}
