// WKV6 forward and backward, token by token in fp32, one (sequence, head) per iteration of the parallel loop.
//
// The state is K x V floats (4 KB at K = V = 32): it stays in the first-level cache, so the plain recurrence needs
// no chunking and is exact for any decay. Inner loops run over V, contiguous, and are left to the vectoriser.
// Tensors are contiguous: r, k, w [B, T, H, K], v [B, T, H, V], u [H, K], states [B, H, K, V].

#include <cmath>
#include <cstring>
#include <vector>

namespace {

constexpr long SEGMENT = 32;  // tokens whose states are kept while the backward pass recomputes them

// S = diag(exp(w)) S + k v^T
inline void advance(float* __restrict__ S, const float* __restrict__ k, const float* __restrict__ v,
                    const float* __restrict__ decay, long K, long V) {
    for (long i = 0; i < K; ++i) {
        const float d = decay[i], ki = k[i];
        float* __restrict__ row = S + i * V;
        for (long j = 0; j < V; ++j) row[j] = d * row[j] + ki * v[j];
    }
}

}  // namespace

extern "C" void wkv6_forward(long B, long T, long H, long K, long V, const float* r, const float* k, const float* v,
                             const float* w, const float* u, const float* s0, float* y, float* sT, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long bh = 0; bh < B * H; ++bh) {
        const long b = bh / H, h = bh % H;
        float* __restrict__ S = sT + bh * K * V;
        std::memcpy(S, s0 + bh * K * V, sizeof(float) * K * V);
        for (long t = 0; t < T; ++t) {
            const long at = (b * T + t) * H + h;
            const float *rt = r + at * K, *kt = k + at * K, *vt = v + at * V, *wt = w + at * K;
            float* __restrict__ yt = y + at * V;
            float bonus = 0;
            for (long i = 0; i < K; ++i) bonus += rt[i] * u[h * K + i] * kt[i];
            for (long j = 0; j < V; ++j) yt[j] = bonus * vt[j];
            for (long i = 0; i < K; ++i) {
                const float ri = rt[i], ki = kt[i], d = std::exp(wt[i]);
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
            // The state at the start of every segment.
            std::memcpy(starts.data(), s0 + bh * size, sizeof(float) * size);
            for (long t = 0; t < T; ++t) {
                const long at = (b * T + t) * H + h;
                for (long i = 0; i < K; ++i) decay[t * K + i] = std::exp(w[at * K + i]);
            }
            for (long s = 0; s + 1 < segments; ++s) {
                float* S = starts.data() + (s + 1) * size;
                std::memcpy(S, S - size, sizeof(float) * size);
                for (long t = s * SEGMENT; t < (s + 1) * SEGMENT; ++t) {
                    const long at = (b * T + t) * H + h;
                    advance(S, k + at * K, v + at * V, decay.data() + t * K, K, V);
                }
            }
            float* __restrict__ G = gs0 + bh * size;  // gradient of the state after token t
            for (long s = segments - 1; s >= 0; --s) {
                const long first = s * SEGMENT, last = first + SEGMENT < T ? first + SEGMENT : T;
                std::memcpy(states.data(), starts.data() + s * size, sizeof(float) * size);
                for (long t = first; t + 1 < last; ++t) {
                    const long at = (b * T + t) * H + h;
                    float* S = states.data() + (t + 1 - first) * size;
                    std::memcpy(S, S - size, sizeof(float) * size);
                    advance(S, k + at * K, v + at * V, decay.data() + t * K, K, V);
                }
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
