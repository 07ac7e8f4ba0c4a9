// WKV6 (RWKV-6) forward and backward, token by token in fp32, one (sequence, head) per iteration of the parallel loop.
// The readable form is in reference.py.
//
// A head's state is a few kilobytes (K = V = 32: 4 KB) and stays in the cache, so the plain recurrence needs no chunking
// and is exact for any decay. r, k, w [B, T, H, K], v, y [B, T, H, V], u [H, K], states [B, H, K, V]; all contiguous.

#include <algorithm>

#include "common.h"
#include "kernels.h"

namespace {

// Tokens whose states a backward pass keeps while it recomputes them: what fits the second-level cache.
constexpr long SEGMENT = 16;

// 8 * GROUPS columns of to = diag(decay) from + k v^T; `to` may be `from`.
template <int GROUPS>
inline void advance_columns(float* to, const float* from, const float* k, const float* v, const float* decay, long K, long V) {
    float8 values[GROUPS];
#pragma GCC unroll 4
    for (int g = 0; g < GROUPS; ++g) values[g] = load8(v + 8 * g);
    for (long i = 0; i < K; ++i) {
#pragma GCC unroll 4
        for (int g = 0; g < GROUPS; ++g)
            store8(to + i * V + 8 * g, decay[i] * load8(from + i * V + 8 * g) + k[i] * values[g]);
    }
}

inline void advance(float* to, const float* from, const float* k, const float* v, const float* decay, long K, long V) {
    long j = 0;
    for (; j + 32 <= V; j += 32) advance_columns<4>(to + j, from + j, k, v + j, decay, K, V);
    for (; j + 8 <= V; j += 8) advance_columns<1>(to + j, from + j, k, v + j, decay, K, V);
    for (; j < V; ++j)
        for (long i = 0; i < K; ++i) to[i * V + j] = decay[i] * from[i * V + j] + k[i] * v[j];
}

// 8 * GROUPS columns of one token: y = r S + bonus v, then S advances. The columns of y stay in registers.
template <int GROUPS>
inline void forward_columns(long K, long V, const float* r, const float* k, const float* decay, const float* v,
                            float bonus, float* S, float* y) {
    float8 values[GROUPS], sums[GROUPS];
#pragma GCC unroll 4
    for (int g = 0; g < GROUPS; ++g) {
        values[g] = load8(v + 8 * g);
        sums[g] = bonus * values[g];
    }
    for (long i = 0; i < K; ++i) {
#pragma GCC unroll 4
    for (int g = 0; g < GROUPS; ++g) {
            float* at = S + i * V + 8 * g;
            const float8 state = load8(at);
            sums[g] += r[i] * state;
            store8(at, decay[i] * state + k[i] * values[g]);
        }
    }
#pragma GCC unroll 4
    for (int g = 0; g < GROUPS; ++g) store8(y + 8 * g, sums[g]);
}

// 8 * GROUPS columns of one token, backward. S is the state before the token, G the gradient of the state after it (on
// return: before it). Adds to the sums over columns: to_k, to_w, to_r [K]; writes gv.
template <int GROUPS>
inline void backward_columns(long K, long V, const float* r, const float* k, const float* decay, const float* v,
                             const float* gy, float bonus, const float* S, float* G, float* to_k, float* to_w,
                             float* to_r, float* gv) {
    float8 values[GROUPS], outs[GROUPS], sums[GROUPS];
#pragma GCC unroll 4
    for (int g = 0; g < GROUPS; ++g) {
        values[g] = load8(v + 8 * g);
        outs[g] = load8(gy + 8 * g);
        sums[g] = bonus * outs[g];
    }
    for (long first = 0; first < K; first += 8) {
        float8 k_sums[8], w_sums[8], r_sums[8];
        const long rows = std::min(8L, K - first);
        for (long n = 0; n < rows; ++n) {
            const long i = first + n;
            float8 k_sum = all8(0), w_sum = all8(0), r_sum = all8(0);
#pragma GCC unroll 4
            for (int g = 0; g < GROUPS; ++g) {
                float* at = G + i * V + 8 * g;
                const float8 gradient = load8(at), state = load8(S + i * V + 8 * g);
                k_sum += gradient * values[g];
                w_sum += gradient * state;
                r_sum += outs[g] * state;
                sums[g] += k[i] * gradient;
                store8(at, decay[i] * gradient + r[i] * outs[g]);
            }
            k_sums[n] = k_sum, w_sums[n] = w_sum, r_sums[n] = r_sum;
        }
        if (rows == 8) {
            store8(to_k + first, load8(to_k + first) + sums8(k_sums));
            store8(to_w + first, load8(to_w + first) + sums8(w_sums));
            store8(to_r + first, load8(to_r + first) + sums8(r_sums));
            continue;
        }
        for (long n = 0; n < rows; ++n) {
            to_k[first + n] += sum8(k_sums[n]);
            to_w[first + n] += sum8(w_sums[n]);
            to_r[first + n] += sum8(r_sums[n]);
        }
    }
#pragma GCC unroll 4
    for (int g = 0; g < GROUPS; ++g) store8(gv + 8 * g, sums[g]);
}

}  // namespace

extern "C" void wkv6_forward(long B, long T, long H, long K, long V, const float* r, const float* k, const float* v,
                             const float* w, const float* u, const float* s0, float* y, float* sT, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long bh = 0; bh < B * H; ++bh) {
        const long b = bh / H, h = bh % H;
        if (h == 0)
            for (const float* one : {r, k, v, w}) ask_for(one + b * T * H * K, T * H * K);
        std::vector<float> decay(K);
        float* S = sT + bh * K * V;
        std::memcpy(S, s0 + bh * K * V, sizeof(float) * K * V);
        for (long t = 0; t < T; ++t) {
            const long at = (b * T + t) * H + h;
            const float *rt = r + at * K, *kt = k + at * K, *vt = v + at * V;
            float* yt = y + at * V;
            float bonus = 0;
            exponentials(decay.data(), w + at * K, K);
            for (long i = 0; i < K; ++i) bonus += rt[i] * u[h * K + i] * kt[i];
            long j = 0;
            for (; j + 32 <= V; j += 32) forward_columns<4>(K, V, rt, kt, decay.data(), vt + j, bonus, S + j, yt + j);
            for (; j + 8 <= V; j += 8) forward_columns<1>(K, V, rt, kt, decay.data(), vt + j, bonus, S + j, yt + j);
            for (; j < V; ++j) {
                yt[j] = bonus * vt[j];
                for (long i = 0; i < K; ++i) {
                    yt[j] += rt[i] * S[i * V + j];
                    S[i * V + j] = decay[i] * S[i * V + j] + kt[i] * vt[j];
                }
            }
        }
    }
}

// gu is [B, H, K]: the caller sums it over B. gs0 holds the gradient of the final state on entry.
extern "C" void wkv6_backward(long B, long T, long H, long K, long V, const float* r, const float* k, const float* v,
                              const float* w, const float* u, const float* s0, const float* gy, float* gr, float* gk,
                              float* gv, float* gw, float* gu, float* gs0, int threads) {
    const long size = K * V, segments = (T + SEGMENT - 1) / SEGMENT;
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> starts(segments * size), states(SEGMENT * size), decay(T * K), sums(3 * K);
        float *to_k = sums.data(), *to_w = to_k + K, *to_r = to_w + K;
#pragma omp for schedule(static)
        for (long bh = 0; bh < B * H; ++bh) {
            const long b = bh / H, h = bh % H;
            const float* uh = u + h * K;
            if (h == 0)
                for (const float* one : {r, k, v, w, gy}) ask_for(one + b * T * H * K, T * H * K);
            const auto advance_at = [&](float* to, const float* from, long t) {
                const long at = (b * T + t) * H + h;
                advance(to, from, k + at * K, v + at * V, &decay[t * K], K, V);
            };
            for (long t = 0; t < T; ++t) exponentials(&decay[t * K], w + ((b * T + t) * H + h) * K, K);
            // The state at the start of every segment.
            std::memcpy(starts.data(), s0 + bh * size, sizeof(float) * size);
            for (long s = 0; s + 1 < segments; ++s) {
                float* S = &starts[(s + 1) * size];
                advance_at(S, S - size, s * SEGMENT);
                for (long t = s * SEGMENT + 1; t < (s + 1) * SEGMENT; ++t) advance_at(S, S, t);
            }
            float* G = gs0 + bh * size;  // gradient of the state after token t
            for (long s = segments - 1; s >= 0; --s) {
                const long first = s * SEGMENT, last = std::min(first + SEGMENT, T);
                std::memcpy(states.data(), &starts[s * size], sizeof(float) * size);
                for (long t = first; t + 1 < last; ++t) advance_at(&states[(t + 1 - first) * size], &states[(t - first) * size], t);
                for (long t = last - 1; t >= first; --t) {
                    const long at = (b * T + t) * H + h;
                    const float *rt = r + at * K, *kt = k + at * K, *vt = v + at * V, *gyt = gy + at * V;
                    const float *d = &decay[t * K], *S = &states[(t - first) * size];
                    float* gvt = gv + at * V;
                    float gyv = 0, bonus = 0;
                    for (long j = 0; j < V; ++j) gyv += gyt[j] * vt[j];
                    for (long i = 0; i < K; ++i) bonus += rt[i] * uh[i] * kt[i];
                    std::fill(sums.begin(), sums.end(), 0.f);
                    long j = 0;
                    for (; j + 32 <= V; j += 32)
                        backward_columns<4>(K, V, rt, kt, d, vt + j, gyt + j, bonus, S + j, G + j, to_k, to_w, to_r, gvt + j);
                    for (; j + 8 <= V; j += 8)
                        backward_columns<1>(K, V, rt, kt, d, vt + j, gyt + j, bonus, S + j, G + j, to_k, to_w, to_r, gvt + j);
                    for (; j < V; ++j) {
                        gvt[j] = bonus * gyt[j];
                        for (long i = 0; i < K; ++i) {
                            float* Gij = G + i * V + j;
                            to_k[i] += *Gij * vt[j];
                            to_w[i] += *Gij * S[i * V + j];
                            to_r[i] += gyt[j] * S[i * V + j];
                            gvt[j] += kt[i] * *Gij;
                            *Gij = d[i] * *Gij + rt[i] * gyt[j];
                        }
                    }
                    float *grt = gr + at * K, *gkt = gk + at * K, *gwt = gw + at * K, *gut = gu + bh * K;
#pragma omp simd
                    for (long i = 0; i < K; ++i) {
                        grt[i] = to_r[i] + uh[i] * kt[i] * gyv;
                        gkt[i] = to_k[i] + rt[i] * uh[i] * gyv;
                        gwt[i] = d[i] * to_w[i];
                        gut[i] += rt[i] * kt[i] * gyv;
                    }
                }
            }
        }
    }
}
