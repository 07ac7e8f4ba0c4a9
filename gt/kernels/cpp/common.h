// What the kernels share: numbers in groups of eight, an exponential that vectorises, a small matrix product.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

// Eight numbers; the compiler splits or joins them as the processor's registers are wide.
typedef float float8 __attribute__((vector_size(32)));

inline float8 load8(const float* from) {
    float8 value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

inline void store8(float* to, float8 value) { std::memcpy(to, &value, sizeof value); }

inline float8 all8(float value) { return float8{value, value, value, value, value, value, value, value}; }

inline float sum8(float8 value) {
    typedef float float4 __attribute__((vector_size(16)));
    float4 halves[2];
    std::memcpy(halves, &value, sizeof value);
    const float4 sums = halves[0] + halves[1];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// exp(x) to 2e-7 relative. The library's expf is a call for every number; this is straight code, so that loops over it
// vectorise. x = n ln 2 + r with |r| <= ln 2 / 2; the polynomial is that of Cephes' expf (Moshier 1989).
[[gnu::always_inline]] inline float exponential(float x) {
    float n = std::rint(x * 1.44269504088896341f);
    n = n > 127.f ? 127.f : n;
    n = n < -126.f ? -126.f : n;
    float r = std::fma(n, -0.693359375f, x);  // ln 2 in two parts: their sum in one would lose the last digits
    r = std::fma(n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    const std::int32_t bits = (static_cast<std::int32_t>(n) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    float y = (p * r * r + r + 1.f) * power;
    y = x < -87.3f ? 0.f : y;
    return x > 88.7f ? INFINITY : y;
}

inline float sigmoid(float x) { return 1 / (1 + exponential(-x)); }

inline void exponentials(float* __restrict__ out, const float* __restrict__ in, long count) {
    for (long i = 0; i < count; ++i) out[i] = exponential(in[i]);
}

template <int ROWS, int GROUPS>
inline void product_tile(long K, const float* a, long row, long column, const float* b, long ldb, float* c, long ldc) {
    float8 sums[ROWS][GROUPS];
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 8
        for (int g = 0; g < GROUPS; ++g) sums[i][g] = load8(c + i * ldc + 8 * g);
    for (long k = 0; k < K; ++k) {
        float8 bk[GROUPS];
#pragma GCC unroll 8
        for (int g = 0; g < GROUPS; ++g) bk[g] = load8(b + k * ldb + 8 * g);
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 8
            for (int g = 0; g < GROUPS; ++g) sums[i][g] += a[i * row + k * column] * bk[g];
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 8
        for (int g = 0; g < GROUPS; ++g) store8(c + i * ldc + 8 * g, sums[i][g]);
}

template <int GROUPS>
inline void product_columns(long M, long K, const float* a, long row, long column, const float* b, long ldb, float* c,
                            long ldc) {
    long i = 0;
    for (; i + 4 <= M; i += 4) product_tile<4, GROUPS>(K, a + i * row, row, column, b, ldb, c + i * ldc, ldc);
    for (; i < M; ++i) product_tile<1, GROUPS>(K, a + i * row, row, column, b, ldb, c + i * ldc, ldc);
}

// c[i][j] += sum over k of a[i * row + k * column] * b[k][j]; N is a multiple of 8. For matrices of a head's size, which
// stay in the cache: a general library spends longer on finding out what it was given.
[[gnu::noinline]] inline void add_product(long M, long N, long K, const float* a, long row, long column, const float* b, long ldb,
                        float* c, long ldc) {
    long j = 0;
    for (; j + 16 <= N; j += 16) product_columns<2>(M, K, a, row, column, b + j, ldb, c + j, ldc);
    for (; j + 8 <= N; j += 8) product_columns<1>(M, K, a, row, column, b + j, ldb, c + j, ldc);
}

typedef std::int32_t int8 __attribute__((vector_size(32)));

#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, int8{__VA_ARGS__})
#endif

// Of eight vectors, the sum of each.
[[gnu::always_inline]] inline float8 sums8(const float8* from) {
    float8 pairs[4], fours[2];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        const float8 a = from[2 * i], b = from[2 * i + 1];
        pairs[i] = SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13) + SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
        const float8 a = pairs[2 * i], b = pairs[2 * i + 1];
        fours[i] = SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13) + SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
    }
    return SHUFFLE(fours[0], fours[1], 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLE(fours[0], fours[1], 4, 5, 6, 7, 12, 13, 14, 15);
}

// Asks for what is read soon, in the order in which it lies in memory: for short runs far apart, each read when it is
// needed, the processor would wait.
inline void ask_for(const float* from, long count) {
    for (long i = 0; i < count; i += 16) __builtin_prefetch(from + i);
}

// Eight by eight, in registers: single numbers, then pairs, then halves of rows change places.
[[gnu::always_inline]] inline void transpose8(const float* from, long ld_from, float* to, long ld_to) {
    float8 a[8], b[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) a[i] = load8(from + i * ld_from);
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        b[i] = SHUFFLE(a[i], a[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        b[i + 1] = SHUFFLE(a[i], a[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        const int at = i / 2 * 4 + i % 2;  // 0, 1, 4, 5
        a[2 * i] = SHUFFLE(b[at], b[at + 2], 0, 1, 8, 9, 4, 5, 12, 13);
        a[2 * i + 1] = SHUFFLE(b[at], b[at + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        store8(to + i * ld_to, SHUFFLE(a[i], a[i + 4], 0, 1, 2, 3, 8, 9, 10, 11));
        store8(to + (i + 4) * ld_to, SHUFFLE(a[i], a[i + 4], 4, 5, 6, 7, 12, 13, 14, 15));
    }
}

// to[j][i] = from[i][j]
[[gnu::noinline]] inline void transpose(long rows, long columns, const float* from, long ld_from, float* to, long ld_to) {
    long i = 0;
    for (; i + 8 <= rows; i += 8) {
        long j = 0;
        for (; j + 8 <= columns; j += 8) transpose8(from + i * ld_from + j, ld_from, to + j * ld_to + i, ld_to);
        for (; j < columns; ++j)
            for (long r = i; r < i + 8; ++r) to[j * ld_to + r] = from[r * ld_from + j];
    }
    for (; i < rows; ++i)
        for (long j = 0; j < columns; ++j) to[j * ld_to + i] = from[i * ld_from + j];
}
