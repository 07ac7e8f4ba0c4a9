// The recurrences forward and backward, token by token in fp32, one (sequence, head) per iteration of the parallel
// loop; and the causal convolution. The readable form of each function is in reference.py.
//
// A head's state is a few kilobytes (WKV6 with K = V = 32: 4 KB) and stays in the cache, so the plain recurrence
// needs no chunking and is exact for any decay. Inner loops run over contiguous memory and are left to the vectoriser.
// All tensors are contiguous.

#include <cmath>
#include <cstring>
#include <vector>

namespace {

// Tokens whose states a backward pass keeps while it recomputes them: what fits the second-level cache.
constexpr long SEGMENT = 16;

inline void exponentials(float* __restrict__ out, const float* __restrict__ in, long count) {
#pragma omp simd
    for (long i = 0; i < count; ++i) out[i] = std::exp(in[i]);
}

// to = diag(decay) from + k v^T; `to` may be `from`
inline void wkv6_advance(float* to, const float* from, const float* k, const float* v, const float* decay, long K,
                         long V) {
    for (long i = 0; i < K; ++i) {
        const float d = decay[i], ki = k[i];
#pragma omp simd
        for (long j = 0; j < V; ++j) to[i * V + j] = d * from[i * V + j] + ki * v[j];
    }
}

// to = decay from + dt x B^T; `to` may be `from`
inline void ssd_advance(float* to, const float* from, float decay, float dt, const float* x, const float* Bt, long P,
                        long N) {
    for (long p = 0; p < P; ++p) {
        const float add = dt * x[p];
#pragma omp simd
        for (long n = 0; n < N; ++n) to[p * N + n] = decay * from[p * N + n] + add * Bt[n];
    }
}

}  // namespace

// WKV6: r, k, w [B, T, H, K], v, y [B, T, H, V], u [H, K], states [B, H, K, V].

extern "C" void wkv6_forward(long B, long T, long H, long K, long V, const float* r, const float* k, const float* v,
                             const float* w, const float* u, const float* s0, float* y, float* sT, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long bh = 0; bh < B * H; ++bh) {
        const long b = bh / H, h = bh % H;
        std::vector<float> decay(K);
        float* __restrict__ S = sT + bh * K * V;
        std::memcpy(S, s0 + bh * K * V, sizeof(float) * K * V);
        for (long t = 0; t < T; ++t) {
            const long at = (b * T + t) * H + h;
            const float *rt = r + at * K, *kt = k + at * K, *vt = v + at * V, *wt = w + at * K;
            float* __restrict__ yt = y + at * V;
            float bonus = 0;
            exponentials(decay.data(), wt, K);
            for (long i = 0; i < K; ++i) bonus += rt[i] * u[h * K + i] * kt[i];
            for (long j = 0; j < V; ++j) yt[j] = bonus * vt[j];
            for (long i = 0; i < K; ++i) {
                const float ri = rt[i], ki = kt[i], d = decay[i];
                float* __restrict__ row = S + i * V;
                for (long j = 0; j < V; ++j) {
                    yt[j] += ri * row[j];
                    row[j] = d * row[j] + ki * vt[j];
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
        std::vector<float> starts(segments * size), states(SEGMENT * size), decay(T * K);
#pragma omp for schedule(static)
        for (long bh = 0; bh < B * H; ++bh) {
            const long b = bh / H, h = bh % H;
            const float* uh = u + h * K;
            const auto advance_at = [&](float* to, const float* from, long t) {
                const long at = (b * T + t) * H + h;
                wkv6_advance(to, from, k + at * K, v + at * V, &decay[t * K], K, V);
            };
            // The state at the start of every segment.
            std::memcpy(starts.data(), s0 + bh * size, sizeof(float) * size);
            for (long t = 0; t < T; ++t) {
                const long at = (b * T + t) * H + h;
                exponentials(decay.data() + t * K, w + at * K, K);
            }
            for (long s = 0; s + 1 < segments; ++s) {
                float* S = &starts[(s + 1) * size];
                advance_at(S, S - size, s * SEGMENT);
                for (long t = s * SEGMENT + 1; t < (s + 1) * SEGMENT; ++t) advance_at(S, S, t);
            }
            float* __restrict__ G = gs0 + bh * size;  // gradient of the state after token t
            for (long s = segments - 1; s >= 0; --s) {
                const long first = s * SEGMENT, last = first + SEGMENT < T ? first + SEGMENT : T;
                std::memcpy(states.data(), starts.data() + s * size, sizeof(float) * size);
                for (long t = first; t + 1 < last; ++t) advance_at(&states[(t + 1 - first) * size], &states[(t - first) * size], t);
                for (long t = last - 1; t >= first; --t) {
                    const long at = (b * T + t) * H + h;
                    const float *rt = r + at * K, *kt = k + at * K, *vt = v + at * V, *gyt = gy + at * V;
                    const float* S = states.data() + (t - first) * size;  // the state before token t
                    float* __restrict__ gvt = gv + at * V;
                    float gyv = 0, bonus = 0;
                    for (long j = 0; j < V; ++j) gyv += gyt[j] * vt[j];
                    for (long i = 0; i < K; ++i) bonus += rt[i] * uh[i] * kt[i];
                    for (long j = 0; j < V; ++j) gvt[j] = bonus * gyt[j];
                    for (long i = 0; i < K; ++i) {
                        const float* __restrict__ Si = S + i * V;
                        const float ki = kt[i], ri = rt[i], d = decay[t * K + i];
                        float* __restrict__ Gi = G + i * V;
                        float gki = 0, gwi = 0, gri = 0;
                        for (long j = 0; j < V; ++j) {
                            gki += Gi[j] * vt[j];
                            gwi += Gi[j] * Si[j];
                            gri += gyt[j] * Si[j];
                            gvt[j] += Gi[j] * ki;
                            Gi[j] = d * Gi[j] + ri * gyt[j];
                        }
                        gr[at * K + i] = gri + uh[i] * ki * gyv;
                        gk[at * K + i] = gki + ri * uh[i] * gyv;
                        gw[at * K + i] = d * gwi;
                        gu[bh * K + i] += ri * ki * gyv;
                    }
                }
            }
        }
    }
}

// SSD: x, y [B, T, H, P], dt [B, T, H], A, D [H], Bm, Cm [B, T, G, N], states [B, H, P, N].

extern "C" void ssd_forward(long B, long T, long H, long P, long G, long N, const float* x, const float* dt,
                            const float* A, const float* Bm, const float* Cm, const float* D, const float* s0, float* y,
                            float* sT, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long bh = 0; bh < B * H; ++bh) {
        const long b = bh / H, h = bh % H, g = h / (H / G);
        float* __restrict__ S = sT + bh * P * N;
        std::memcpy(S, s0 + bh * P * N, sizeof(float) * P * N);
        for (long t = 0; t < T; ++t) {
            const long at = (b * T + t) * H + h, group = (b * T + t) * G + g;
            const float *xt = x + at * P, *Bt = Bm + group * N, *Ct = Cm + group * N;
            const float decay = std::exp(dt[at] * A[h]);
            for (long p = 0; p < P; ++p) {
                const float add = dt[at] * xt[p];
                float* __restrict__ row = S + p * N;
                float sum = 0;
                for (long n = 0; n < N; ++n) {
                    row[n] = decay * row[n] + add * Bt[n];
                    sum += row[n] * Ct[n];
                }
                y[at * P + p] = sum + D[h] * xt[p];
            }
        }
    }
}

// gB and gC are [B, T, H, N], gA and gD [B, H]: the caller sums them over the heads of a group and over B.
// gs0 holds the gradient of the final state on entry.
extern "C" void ssd_backward(long B, long T, long H, long P, long G, long N, const float* x, const float* dt,
                             const float* A, const float* Bm, const float* Cm, const float* D, const float* s0,
                             const float* gy, float* gx, float* gdt, float* gA, float* gB, float* gC, float* gD,
                             float* gs0, int threads) {
    const long size = P * N, segments = (T + SEGMENT - 1) / SEGMENT;
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> starts(segments * size), states((SEGMENT + 1) * size);
#pragma omp for schedule(static)
        for (long bh = 0; bh < B * H; ++bh) {
            const long b = bh / H, h = bh % H, g = h / (H / G);
            const auto advance_at = [&](float* to, const float* from, long t) {
                const long at = (b * T + t) * H + h;
                ssd_advance(to, from, std::exp(dt[at] * A[h]), dt[at], x + at * P, Bm + ((b * T + t) * G + g) * N, P,
                            N);
            };
            std::memcpy(starts.data(), s0 + bh * size, sizeof(float) * size);
            for (long s = 0; s + 1 < segments; ++s) {
                float* S = &starts[(s + 1) * size];
                advance_at(S, S - size, s * SEGMENT);
                for (long t = s * SEGMENT + 1; t < (s + 1) * SEGMENT; ++t) advance_at(S, S, t);
            }
            float* __restrict__ Gs = gs0 + bh * size;  // gradient of the state after token t, less what y_t adds
            for (long s = segments - 1; s >= 0; --s) {
                const long first = s * SEGMENT, last = first + SEGMENT < T ? first + SEGMENT : T;
                std::memcpy(states.data(), &starts[s * size], sizeof(float) * size);
                for (long t = first; t < last; ++t) advance_at(&states[(t + 1 - first) * size], &states[(t - first) * size], t);
                for (long t = last - 1; t >= first; --t) {
                    const long at = (b * T + t) * H + h, group = (b * T + t) * G + g;
                    const float *xt = x + at * P, *gyt = gy + at * P, *Bt = Bm + group * N, *Ct = Cm + group * N;
                    const float *before = &states[(t - first) * size], *after = before + size;
                    const float step = dt[at], decay = std::exp(step * A[h]);
                    float *__restrict__ gBt = gB + at * N, *__restrict__ gCt = gC + at * N;
                    for (long n = 0; n < N; ++n) gBt[n] = gCt[n] = 0;
                    float through_decay = 0, through_input = 0, skip = 0;
                    for (long p = 0; p < P; ++p) {
                        const float gyp = gyt[p], add = step * xt[p];
                        const float *__restrict__ Sb = before + p * N, *__restrict__ Sa = after + p * N;
                        float* __restrict__ Gp = Gs + p * N;
                        float gxp = 0, gdecay = 0;
                        for (long n = 0; n < N; ++n) {
                            const float gradient = Gp[n] + gyp * Ct[n];
                            gCt[n] += gyp * Sa[n];
                            gBt[n] += gradient * add;
                            gxp += gradient * Bt[n];
                            gdecay += gradient * Sb[n];
                            Gp[n] = gradient * decay;
                        }
                        gx[at * P + p] = step * gxp + D[h] * gyp;
                        through_input += xt[p] * gxp;
                        through_decay += gdecay;
                        skip += gyp * xt[p];
                    }
                    gdt[at] = through_input + through_decay * decay * A[h];
                    gA[bh] += through_decay * decay * step;
                    gD[bh] += skip;
                }
            }
        }
    }
}

// Convolution over time and SiLU: x [B, T + W - 1, D] (the past in front), weight [W, D], bias [D], y [B, T, D].

extern "C" void conv_forward(long B, long T, long D, long W, const float* x, const float* weight, const float* bias,
                             float* y, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long bt = 0; bt < B * T; ++bt) {
        const float* in = x + (bt / T * (T + W - 1) + bt % T) * D;
        float* __restrict__ out = y + bt * D;
        for (long d = 0; d < D; ++d) out[d] = bias[d];
        for (long j = 0; j < W; ++j)
            for (long d = 0; d < D; ++d) out[d] += weight[j * D + d] * in[j * D + d];
        for (long d = 0; d < D; ++d) out[d] = out[d] / (1 + std::exp(-out[d]));
    }
}

// gx is zero on entry; gweight [B, W, D] and gbias [B, D] too: the caller sums them over B.
extern "C" void conv_backward(long B, long T, long D, long W, const float* x, const float* weight, const float* bias,
                              const float* gy, float* gx, float* gweight, float* gbias, int threads) {
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> buffer(D);
        float* __restrict__ gz = buffer.data();
#pragma omp for schedule(static)
        for (long b = 0; b < B; ++b) {
            float* __restrict__ gb = gbias + b * D;
            for (long t = 0; t < T; ++t) {
                const float *in = x + (b * (T + W - 1) + t) * D, *gyt = gy + (b * T + t) * D;
                for (long d = 0; d < D; ++d) gz[d] = bias[d];
                for (long j = 0; j < W; ++j)
                    for (long d = 0; d < D; ++d) gz[d] += weight[j * D + d] * in[j * D + d];
                for (long d = 0; d < D; ++d) {
                    const float s = 1 / (1 + std::exp(-gz[d]));
                    gz[d] = gyt[d] * s * (1 + gz[d] * (1 - s));
                    gb[d] += gz[d];
                }
                for (long j = 0; j < W; ++j) {
                    const float* __restrict__ xj = in + j * D;
                    float* __restrict__ gxj = gx + (b * (T + W - 1) + t + j) * D;
                    float* __restrict__ gw = gweight + (b * W + j) * D;
                    for (long d = 0; d < D; ++d) {
                        gw[d] += gz[d] * xj[d];
                        gxj[d] += gz[d] * weight[j * D + d];
                    }
                }
            }
        }
    }
}
