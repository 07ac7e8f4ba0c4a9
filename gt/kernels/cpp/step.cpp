// One token through a whole mixer, for decoding: at this size a framework spends more time on calling its functions than
// on computing them. fp32; the readable forms are the forward functions of gt/models/rwkv6.py and gt/models/mamba2.py.
// All tensors are contiguous, linear weights are [out, in], and widths are multiples of 8.

#include <algorithm>

#include "common.h"

namespace {

inline float tanh_of(float x) { return 2 * sigmoid(2 * x) - 1; }

inline float softplus(float x) { return x > 20 ? x : std::log1p(std::exp(x)); }  // 20: the framework's threshold

constexpr long AHEAD = 1024;  // numbers to fetch in advance: one sequence waits for the weights, not for the arithmetic

// out [rows, N] = x [rows, K] W^T
void linear(long rows, long N, long K, const float* W, const float* x, float* out) {
    if (rows < 4) {
        for (long r = 0; r < rows; ++r)
            for (long n = 0; n < N; ++n) {
                float8 sums[2] = {};
                const float *w = W + n * K, *in = x + r * K;
                long k = 0;
                for (; k + 16 <= K; k += 16) {
                    __builtin_prefetch(w + k + AHEAD);
                    sums[0] += load8(w + k) * load8(in + k);
                    sums[1] += load8(w + k + 8) * load8(in + k + 8);
                }
                if (k < K) sums[0] += load8(w + k) * load8(in + k);
                out[r * N + n] = sum8(sums[0] + sums[1]);
            }
        return;
    }
    // out^T = W x^T: the product needs rows of numbers side by side, and W is long.
    const long padded = (rows + 7) / 8 * 8;
    std::vector<float> turned(K * padded), result(N * padded);
    for (long r = 0; r < rows; ++r)
        for (long k = 0; k < K; ++k) turned[k * padded + r] = x[r * K + k];
    add_product(N, padded, K, W, K, 1, turned.data(), padded, result.data(), padded);
    for (long r = 0; r < rows; ++r)
        for (long n = 0; n < N; ++n) out[r * N + n] = result[n * padded + r];
}

// out [rows, N] = x [rows, K] M, with M [K, N]
void product(long rows, long N, long K, const float* M, const float* x, float* out) {
    std::fill(out, out + rows * N, 0.f);
    add_product(rows, N, K, x, K, 1, M, N, out, N);
}

// Calls rows(first, count) for shares of the batch, side by side where there is enough for each.
template <class Function>
void share_rows(long batch, int threads, Function rows) {
    const long shares = std::max(1L, std::min(static_cast<long>(threads), batch / 8));
#pragma omp parallel for num_threads(shares) schedule(static) if (shares > 1)
    for (long s = 0; s < shares; ++s) {
        const long first = batch * s / shares;
        rows(first, batch * (s + 1) / shares - first);
    }
}

// Weights in the order of `gt.kernels.native_step`.
struct RWKV6 {
    const float *mix_x, *mix[5], *w1, *w2, *decay, *d1, *d2, *u, *receptance, *key, *value, *gate, *output, *norm_weight, *norm_bias;
};

struct Mamba2 {
    const float *in_proj, *conv_weight, *conv_bias, *dt_bias, *A_log, *D, *norm_weight, *out_proj;
};

// x, shift, out [rows, C]; w1 [C, 5 R], w2 [5, R, C]; decay [C], d1 [C, Q], d2 [Q, C]; u [H, C / H]; states
// [rows, H, C / H, C / H].
void rwkv6_rows(long rows, long C, long H, long R, long Q, float eps, const RWKV6& p, const float* x, const float* shift,
                const float* state, float* out, float* new_state) {
    const long K = C / H;
    std::vector<float> memory(rows * (8 * C + 5 * R + 5 * R + Q));
    float *mixed = memory.data(), *logs = mixed + rows * C, *r = logs + rows * C, *k = r + rows * C;
    float *v = k + rows * C, *g = v + rows * C, *share = g + rows * C, *y = share + rows * C;
    float *lora = y + rows * C, *piece = lora + rows * 5 * R, *low = piece + rows * 5 * R;
    for (long b = 0; b < rows; ++b)
        for (long c = 0; c < C; ++c) {
            const long at = b * C + c;
            mixed[at] = x[at] + (shift[at] - x[at]) * p.mix_x[c];
        }
    product(rows, 5 * R, C, p.w1, mixed, lora);
    for (long i = 0; i < rows * 5 * R; ++i) lora[i] = tanh_of(lora[i]);
    const float* weights[5] = {nullptr, p.key, p.value, p.receptance, p.gate};
    float* targets[5] = {nullptr, k, v, r, g};
    for (int m = 0; m < 5; ++m) {
        for (long b = 0; b < rows; ++b) std::copy_n(lora + b * 5 * R + m * R, R, piece + b * R);
        product(rows, C, R, p.w2 + m * R * C, piece, share);
        for (long b = 0; b < rows; ++b)
            for (long c = 0; c < C; ++c) {
                const long at = b * C + c;
                mixed[at] = x[at] + (shift[at] - x[at]) * (p.mix[m][c] + share[at]);
            }
        if (m == 0) {
            product(rows, Q, C, p.d1, mixed, low);
            for (long i = 0; i < rows * Q; ++i) low[i] = tanh_of(low[i]);
            product(rows, C, Q, p.d2, low, logs);
        } else {
            linear(rows, C, C, weights[m], mixed, targets[m]);
        }
    }
    for (long b = 0; b < rows; ++b) {
        for (long h = 0; h < H; ++h) {
            const long at = b * C + h * K;
            const float* __restrict__ S = state + (b * H + h) * K * K;
            float *__restrict__ next = new_state + (b * H + h) * K * K, *__restrict__ yh = y + at;
            float bonus = 0, sum = 0, squares = 0;
            for (long i = 0; i < K; ++i) bonus += r[at + i] * p.u[h * K + i] * k[at + i];
            for (long j = 0; j < K; ++j) yh[j] = bonus * v[at + j];
            for (long i = 0; i < K; ++i) {
                const float d = exponential(-exponential(p.decay[h * K + i] + logs[at + i]));
                const float ri = r[at + i], ki = k[at + i];
#pragma omp simd
                for (long j = 0; j < K; ++j) {
                    yh[j] += ri * S[i * K + j];
                    next[i * K + j] = d * S[i * K + j] + ki * v[at + j];
                }
            }
            for (long j = 0; j < K; ++j) sum += yh[j];
            const float mean = sum / K;
            for (long j = 0; j < K; ++j) squares += (yh[j] - mean) * (yh[j] - mean);
            const float scale = 1 / std::sqrt(squares / K + eps);
            for (long j = 0; j < K; ++j) {
                const float z = g[at + j];
                yh[j] = ((yh[j] - mean) * scale * p.norm_weight[h * K + j] + p.norm_bias[h * K + j]) * z * sigmoid(z);
            }
        }
    }
    linear(rows, C, C, p.output, y, out);
}

// x, out [rows, C]; E = d_inner = heads P; convolution over D = E + 2 G N channels, W taps; conv states [rows, D, W - 1];
// in_proj gives [z, x, B, C, dt]; states [rows, heads, P, N].
void mamba2_rows(long rows, long C, long E, long P, long G, long N, long W, float eps, const Mamba2& p, const float* x,
                 const float* conv, const float* state, float* out, float* new_conv, float* new_state) {
    const long H = E / P, D = E + 2 * G * N, width = E + D + H;
    std::vector<float> memory(rows * (width + E) + D);
    float *projected = memory.data(), *y = projected + rows * width, *xBC = y + rows * E;
    linear(rows, width, C, p.in_proj, x, projected);
    for (long b = 0; b < rows; ++b) {
        const float *z = projected + b * width, *in = z + E, *dt = in + D;
        for (long d = 0; d < D; ++d) {
            const float* past = conv + (b * D + d) * (W - 1);
            float* next = new_conv + (b * D + d) * (W - 1);
            float sum = p.conv_bias[d] + p.conv_weight[d * W + W - 1] * in[d];
            for (long j = 0; j + 1 < W; ++j) sum += p.conv_weight[d * W + j] * past[j];
            for (long j = 0; j + 2 < W; ++j) next[j] = past[j + 1];
            if (W > 1) next[W - 2] = in[d];
            xBC[d] = sum;
        }
        for (long d = 0; d < D; ++d) xBC[d] *= sigmoid(xBC[d]);
        float* yb = y + b * E;
        for (long h = 0; h < H; ++h) {
            const float step = softplus(dt[h] + p.dt_bias[h]), decay = exponential(-step * std::exp(p.A_log[h]));
            const float *Bt = xBC + E + h / (H / G) * N, *Ct = Bt + G * N;
            for (long i = 0; i < P; ++i) {
                const float value = xBC[h * P + i], add = step * value;
                const float* __restrict__ S = state + ((b * H + h) * P + i) * N;
                float* __restrict__ next = new_state + ((b * H + h) * P + i) * N;
                float sum = 0;
                for (long n = 0; n < N; ++n) {
                    next[n] = decay * S[n] + add * Bt[n];
                    sum += next[n] * Ct[n];
                }
                yb[h * P + i] = sum + p.D[h] * value;
            }
        }
        float squares = 0;
        for (long i = 0; i < E; ++i) {
            yb[i] *= z[i] * sigmoid(z[i]);
            squares += yb[i] * yb[i];
        }
        const float scale = 1 / std::sqrt(squares / E + eps);
        for (long i = 0; i < E; ++i) yb[i] *= scale * p.norm_weight[i];
    }
    linear(rows, C, E, p.out_proj, y, out);
}

// erf to 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26), as code that vectorises.
inline float error_function(float x) {
    const float size = std::fabs(x), t = 1 / (1 + 0.3275911f * size);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    return std::copysign(1 - p * t * exponential(-size * size), x);
}

// out = down gelu(up x): x, out [rows, C], up [F, C], down [C, F].
void feed_forward_rows(long rows, long C, long F, const float* up, const float* down, const float* x, float* out) {
    std::vector<float> inner(rows * F);
    linear(rows, F, C, up, x, inner.data());
    for (long i = 0; i < rows * F; ++i) inner[i] *= 0.5f * (1 + error_function(inner[i] * 0.70710678f));
    linear(rows, C, F, down, inner.data(), out);
}

void rms_norm_rows(long rows, long C, float eps, const float* weight, const float* x, float* out) {
    for (long b = 0; b < rows; ++b) {
        float sum = 0;
        for (long c = 0; c < C; ++c) sum += x[b * C + c] * x[b * C + c];
        const float scale = 1 / std::sqrt(sum / C + eps);
        for (long c = 0; c < C; ++c) out[b * C + c] = x[b * C + c] * scale * weight[c];
    }
}

inline RWKV6 rwkv6_weights(const float* const* w) {
    return {w[0], {w[1], w[2], w[3], w[4], w[5]}, w[6], w[7], w[8], w[9], w[10], w[11], w[12], w[13], w[14], w[15], w[16], w[17], w[18]};
}

inline Mamba2 mamba2_weights(const float* const* w) { return {w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]}; }

}  // namespace

extern "C" void rwkv6_step(long B, long C, long H, long R, long Q, float eps, const float* const* weights,
                           const float* const* states, const float* x, float* out, float* new_state, int threads) {
    const RWKV6 p = rwkv6_weights(weights);
    const float *shift = states[0], *state = states[1];
    const long size = C * (C / H);
    share_rows(B, threads, [&](long first, long rows) {
        rwkv6_rows(rows, C, H, R, Q, eps, p, x + first * C, shift + first * C, state + first * size, out + first * C,
                   new_state + first * size);
    });
}

extern "C" void mamba2_step(long B, long C, long E, long P, long G, long N, long W, float eps, const float* const* weights,
                            const float* const* states, const float* x, float* out, float* new_conv, float* new_state,
                            int threads) {
    const Mamba2 p = mamba2_weights(weights);
    const float *conv = states[0], *state = states[1];
    const long size = E * N, taps = (E + 2 * G * N) * (W - 1);
    share_rows(B, threads, [&](long first, long rows) {
        mamba2_rows(rows, C, E, P, G, N, W, eps, p, x + first * C, conv + first * taps, state + first * size,
                    out + first * C, new_conv + first * taps, new_state + first * size);
    });
}

// All blocks of a model in a row, each with both mixers and one gate per position. weights, for each layer: RWKV-6's,
// Mamba-2's, then the norm before the mixers, the fusion's weight and bias, the norm before the feed-forward layer, its
// two matrices. states and new_states, for each layer: shift, RWKV-6's state, convolution, Mamba-2's state. x [B, C]
// becomes the output. Also written: the outputs of the mixers [L, B, C] and RWKV-6's shares [L, B].
extern "C" void blocks_step(long L, long B, long C, long H, long R, long Q, long E, long P, long G, long N, long W, long F,
                            float rwkv_eps, float mamba_eps, float eps, const float* const* weights,
                            const float* const* states, float* const* new_states, float* x, float* rwkv_out,
                            float* mamba_out, float* shares, int threads) {
    const long rwkv_size = C * (C / H), mamba_size = E * N, taps = (E + 2 * G * N) * (W - 1);
    share_rows(B, threads, [&](long first, long rows) {
        std::vector<float> memory(2 * rows * C);
        float *again = memory.data(), *added = again + rows * C, *xs = x + first * C;
        for (long layer = 0; layer < L; ++layer) {
            const float* const* p = weights + 33 * layer;
            const float* const* state = states + 4 * layer;
            float* const* after = new_states + 4 * layer;
            float* normed = after[0] + first * C;  // RWKV-6's next shift
            const float *mix_norm = p[27], *gate = p[28], *gate_bias = p[29], *ffn_norm = p[30], *up = p[31], *down = p[32];
            const long row = layer * B + first, at = row * C;
            float *r = rwkv_out + at, *m = mamba_out + at;
            rms_norm_rows(rows, C, eps, mix_norm, xs, normed);
            rwkv6_rows(rows, C, H, R, Q, rwkv_eps, rwkv6_weights(p), normed, state[0] + first * C,
                       state[1] + first * rwkv_size, r, after[1] + first * rwkv_size);
            mamba2_rows(rows, C, E, P, G, N, W, mamba_eps, mamba2_weights(p + 19), normed, state[2] + first * taps,
                        state[3] + first * mamba_size, m, after[2] + first * taps, after[3] + first * mamba_size);
            for (long b = 0; b < rows; ++b) {
                float score = *gate_bias;
                for (long c = 0; c < C; ++c) score += gate[c] * r[b * C + c] + gate[C + c] * m[b * C + c];
                const float share = shares[row + b] = sigmoid(score);
                for (long i = b * C; i < (b + 1) * C; ++i) xs[i] += m[i] + share * (r[i] - m[i]);
            }
            rms_norm_rows(rows, C, eps, ffn_norm, xs, again);
            feed_forward_rows(rows, C, F, up, down, again, added);
            for (long i = 0; i < rows * C; ++i) xs[i] += added[i];
        }
    });
}
