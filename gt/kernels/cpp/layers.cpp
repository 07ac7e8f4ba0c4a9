// Whole mixers and blocks, forward and backward, for training: a framework spends longer on the hundreds of calls between
// the products of a small model than on many of the products. fp32; the readable forms are the forward functions of
// gt/models/rwkv6.py, gt/models/mamba2.py and of Block in gt/models/hybrid.py. All tensors are contiguous and linear weights are [out, in].
//
// Weights and their gradients come in tables in the order of `gt.kernels.native_step`; a sequence starts without a state.
// `kept` is what a forward pass leaves for its backward pass, sized by `gt.kernels.native_layers`.

#include <algorithm>
#include <memory>

#include "kernels.h"
#include "matrix.h"

namespace {

// Kernels of the other libraries, which are not compiled twice.
struct Kernels {
    decltype(&::wkv6_forward) wkv6_forward;
    decltype(&::wkv6_backward) wkv6_backward;
    decltype(&::ssd_forward) ssd_forward;
    decltype(&::ssd_backward) ssd_backward;
    decltype(&::conv_forward) conv_forward;
    decltype(&::conv_backward) conv_backward;
    decltype(&::rms_norm_forward) rms_norm_forward;
    decltype(&::rms_norm_backward) rms_norm_backward;
    decltype(&::group_norm_forward) group_norm_forward;
    decltype(&::group_norm_backward) group_norm_backward;
} kernels;

// Hands out pieces of one piece of memory, in order.
struct Pieces {
    float* at;
    float* take(long size) {
        float* piece = at;
        at += size;
        return piece;
    }
};

std::unique_ptr<float[]> memory(long size) { return std::unique_ptr<float[]>(new float[size]); }  // not set to anything

template <class Function>
void each_row(long rows, int threads, Function function) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long i = 0; i < rows; ++i) function(i);
}

// to [C] = the sum of from [rows, C]
void column_sums(long rows, long C, const float* from, float* __restrict__ to) {
    std::fill(to, to + C, 0.f);
    for (long i = 0; i < rows; ++i)
        for (long c = 0; c < C; ++c) to[c] += from[i * C + c];
}

void tanh_all(long rows, long C, float* values, int threads) {
    each_row(rows, threads, [=](long i) {
        for (long at = i * C; at < (i + 1) * C; ++at) values[at] = 2 * sigmoid(2 * values[at]) - 1;
    });
}

// gradient *= 1 - values^2
void tanh_backward(long rows, long C, const float* values, float* gradient, int threads) {
    each_row(rows, threads, [=](long i) {
        for (long at = i * C; at < (i + 1) * C; ++at) gradient[at] *= 1 - values[at] * values[at];
    });
}

// RWKV-6's token shift: x [B, T, C], and before the first token nothing.
struct Shift {
    long T, C;
    const float *x, *nothing;

    const float* previous(long row) const { return row % T ? x + (row - 1) * C : nothing; }

    // to = x + (previous - x) share, with a share for every row (stride C) or one for all (stride 0)
    void mix(long rows, const float* share, long stride, float* to, int threads) const {
        each_row(rows, threads, [=](long i) {
            const float *__restrict__ xi = x + i * C, *__restrict__ pi = previous(i), *__restrict__ s = share + i * stride;
            float* __restrict__ o = to + i * C;
            for (long c = 0; c < C; ++c) o[c] = xi[c] + (pi[c] - xi[c]) * s[c];
        });
    }

    // Adds to gx and gprevious; the gradient of what was mixed becomes that of the shares.
    void mix_backward(long rows, const float* share, long stride, float* gradient, float* gx, float* gprevious,
                      int threads) const {
        each_row(rows, threads, [=](long i) {
            const float *__restrict__ xi = x + i * C, *__restrict__ pi = previous(i), *__restrict__ s = share + i * stride;
            float *__restrict__ g = gradient + i * C, *__restrict__ gxi = gx + i * C, *__restrict__ gpi = gprevious + i * C;
#pragma omp simd
            for (long c = 0; c < C; ++c) {
                const float to_previous = g[c] * s[c];
                gpi[c] += to_previous;
                gxi[c] += g[c] - to_previous;
                g[c] *= pi[c] - xi[c];
            }
        });
    }
};

struct RWKV6Weights {
    const float *mix_x, *mix[5], *w1, *w2, *decay, *d1, *d2, *u, *linear[5], *output, *norm_weight, *norm_bias;

    // The linear layers in the order of what the tokens are mixed for: decay (which has none), key, value, receptance, gate.
    explicit RWKV6Weights(Weights w)
        : mix_x(w[0]), mix{w[1], w[2], w[3], w[4], w[5]}, w1(w[6]), w2(w[7]), decay(w[8]), d1(w[9]), d2(w[10]), u(w[11]),
          linear{nullptr, w[13], w[14], w[12], w[15]}, output(w[16]), norm_weight(w[17]), norm_bias(w[18]) {}
};

// lora [rows, 5 R], share [5, rows, C], low [rows, Q], results (log-decay, k, v, r, g), y, normed [rows, C];
// means, scales [rows, H]
struct RWKV6Kept {
    float *lora, *share, *low, *results[5], *y, *normed, *means, *scales, *end;

    RWKV6Kept(long rows, long C, long H, long R, long Q, float* kept) {
        Pieces pieces{kept};
        lora = pieces.take(rows * 5 * R);
        share = pieces.take(5 * rows * C);
        low = pieces.take(rows * Q);
        for (float*& result : results) result = pieces.take(rows * C);
        y = pieces.take(rows * C);
        normed = pieces.take(rows * C);
        means = pieces.take(rows * H);
        scales = pieces.take(rows * H);
        end = pieces.at;
    }
};

}  // namespace

// Before anything else here: where the kernels are, in the order of `Kernels`.
extern "C" void layers_use(const void* addresses, int) { std::memcpy(&kernels, addresses, sizeof kernels); }

// x, out [B, T, C]; state [B, H, C / H, C / H] after the last token.
extern "C" void rwkv6_layer_forward(long B, long T, long C, long H, long R, long Q, float eps, Weights weights,
                                    const float* x, float* kept, float* out, float* state, int threads) {
    const long rows = B * T, K = C / H;
    const RWKV6Weights p(weights);
    const RWKV6Kept k(rows, C, H, R, Q, kept);
    const auto buffer = memory(rows * C);
    float* mixed = buffer.get();
    const std::vector<float> nothing(std::max(C, B * C * K));
    const Shift shift{T, C, x, nothing.data()};
    shift.mix(rows, p.mix_x, 0, mixed, threads);
    multiply(rows, 5 * R, C, plain(mixed, C), plain(p.w1, 5 * R), k.lora, 5 * R, threads);
    tanh_all(rows, 5 * R, k.lora, threads);
    for (int m = 0; m < 5; ++m) {
        float* share = k.share + m * rows * C;
        multiply(rows, C, R, plain(k.lora + m * R, 5 * R), plain(p.w2 + m * R * C, C), share, C, threads);
        each_row(rows, threads, [&](long i) {
            for (long c = 0; c < C; ++c) share[i * C + c] += p.mix[m][c];
        });
        shift.mix(rows, share, C, mixed, threads);
        if (m > 0) {
            multiply(rows, C, C, plain(mixed, C), turned(p.linear[m], C), k.results[m], C, threads);
            continue;
        }
        float* logs = k.results[0];
        multiply(rows, Q, C, plain(mixed, C), plain(p.d1, Q), k.low, Q, threads);
        tanh_all(rows, Q, k.low, threads);
        multiply(rows, C, Q, plain(k.low, Q), plain(p.d2, C), logs, C, threads);
        each_row(rows, threads, [&](long i) {
            for (long c = 0; c < C; ++c) logs[i * C + c] = -exponential(p.decay[c] + logs[i * C + c]);
        });
    }
    kernels.wkv6_forward(B, T, H, K, K, k.results[3], k.results[1], k.results[2], k.results[0], p.u, nothing.data(), k.y, state,
                 threads);
    kernels.group_norm_forward(rows, C, H, eps, k.y, k.results[4], p.norm_weight, p.norm_bias, k.normed, k.means, k.scales,
                       threads);
    multiply(rows, C, C, plain(k.normed, C), turned(p.output, C), out, C, threads);
}

// gstate holds the gradient of the final state on entry and is overwritten. gx and all gradients of weights are written.
extern "C" void rwkv6_layer_backward(long B, long T, long C, long H, long R, long Q, Weights weights, Gradients gradients,
                                     const float* x, float* kept, const float* gout, float* gstate, float* gx,
                                     int threads) {
    const long rows = B * T, K = C / H;
    const RWKV6Weights p(weights);
    const RWKV6Kept k(rows, C, H, R, Q, kept);
    const auto buffer = memory(rows * (8 * C + Q + 5 * R) + 2 * threads * C);
    Pieces pieces{buffer.get()};
    float *mixed = pieces.take(rows * C), *gprevious = pieces.take(rows * C), *gy = pieces.take(rows * C);
    float* to_results[5];
    for (float*& one : to_results) one = pieces.take(rows * C);
    float *glow = pieces.take(rows * Q), *glora = pieces.take(rows * 5 * R), *parts = pieces.take(2 * threads * C);
    const std::vector<float> nothing(std::max(C, B * C * K));
    const Shift shift{T, C, x, nothing.data()};

    float* gnormed = mixed;
    multiply(rows, C, C, plain(gout, C), plain(p.output, C), gnormed, C, threads);
    multiply(C, C, rows, turned(gout, C), plain(k.normed, C), gradients[16], C, threads);
    kernels.group_norm_backward(rows, C, H, threads, k.y, k.results[4], p.norm_weight, p.norm_bias, k.means, k.scales, gnormed, gy,
                        to_results[4], parts, parts + threads * C, threads);
    column_sums(threads, C, parts, gradients[17]);
    column_sums(threads, C, parts + threads * C, gradients[18]);
    std::vector<float> gu(B * C);
    kernels.wkv6_backward(B, T, H, K, K, k.results[3], k.results[1], k.results[2], k.results[0], p.u, nothing.data(), gy,
                  to_results[3], to_results[1], to_results[2], to_results[0], gu.data(), gstate, threads);
    column_sums(B, C, gu.data(), gradients[11]);

    std::fill(gx, gx + rows * C, 0.f);
    std::fill(gprevious, gprevious + rows * C, 0.f);
    float* gmixed = gy;
    const long linear_at[5] = {0, 13, 14, 12, 15};  // in the table
    for (int m = 0; m < 5; ++m) {
        const float *share = k.share + m * rows * C, *w2 = p.w2 + m * R * C;
        float* gradient = to_results[m];
        shift.mix(rows, share, C, mixed, threads);
        if (m > 0) {
            multiply(C, C, rows, turned(gradient, C), plain(mixed, C), gradients[linear_at[m]], C, threads);
            multiply(rows, C, C, plain(gradient, C), plain(p.linear[m], C), gmixed, C, threads);
        } else {
            const float* logs = k.results[0];
            each_row(rows, threads, [&](long i) {
                for (long at = i * C; at < (i + 1) * C; ++at) gradient[at] *= logs[at];
            });
            column_sums(rows, C, gradient, gradients[8]);
            multiply(Q, C, rows, turned(k.low, Q), plain(gradient, C), gradients[10], C, threads);
            multiply(rows, Q, C, plain(gradient, C), turned(p.d2, C), glow, Q, threads);
            tanh_backward(rows, Q, k.low, glow, threads);
            multiply(C, Q, rows, turned(mixed, C), plain(glow, Q), gradients[9], Q, threads);
            multiply(rows, C, Q, plain(glow, Q), turned(p.d1, Q), gmixed, C, threads);
        }
        shift.mix_backward(rows, share, C, gmixed, gx, gprevious, threads);
        column_sums(rows, C, gmixed, gradients[1 + m]);
        multiply(R, C, rows, turned(k.lora + m * R, 5 * R), plain(gmixed, C), gradients[7] + m * R * C, C, threads);
        multiply(rows, R, C, plain(gmixed, C), turned(w2, C), glora + m * R, 5 * R, threads);
    }
    tanh_backward(rows, 5 * R, k.lora, glora, threads);
    shift.mix(rows, p.mix_x, 0, mixed, threads);
    multiply(C, 5 * R, rows, turned(mixed, C), plain(glora, 5 * R), gradients[6], 5 * R, threads);
    multiply(rows, C, 5 * R, plain(glora, 5 * R), turned(p.w1, 5 * R), gmixed, C, threads);
    shift.mix_backward(rows, p.mix_x, 0, gmixed, gx, gprevious, threads);
    column_sums(rows, C, gmixed, gradients[0]);
    each_row(rows, threads, [=](long i) {
        if (i % T == T - 1) return;
        for (long c = 0; c < C; ++c) gx[i * C + c] += gprevious[(i + 1) * C + c];
    });
}

namespace {

struct Mamba2Weights {
    const float *in_proj, *conv_bias, *dt_bias, *D, *norm_weight, *out_proj;
    std::vector<float> conv, A;  // [W, channels], [heads]

    Mamba2Weights(long channels, long heads, long W, Weights w)
        : in_proj(w[0]), conv_bias(w[2]), dt_bias(w[3]), D(w[5]), norm_weight(w[6]), out_proj(w[7]), conv(W * channels),
          A(heads) {
        transpose(channels, W, w[1], W, conv.data(), channels);
        for (long h = 0; h < heads; ++h) A[h] = -std::exp(w[4][h]);
    }
};

// z, x, y, normed [rows, E], Bm, Cm [rows, G N], dt [rows, heads], scales [rows], padded [B, T + W - 1, channels]
struct Mamba2Kept {
    float *z, *x, *y, *normed, *Bm, *Cm, *dt, *scales, *padded, *end;

    Mamba2Kept(long B, long T, long E, long GN, long heads, long W, float* kept) {
        const long rows = B * T;
        Pieces pieces{kept};
        for (float** each : {&z, &x, &y, &normed}) *each = pieces.take(rows * E);
        for (float** each : {&Bm, &Cm}) *each = pieces.take(rows * GN);
        dt = pieces.take(rows * heads);
        scales = pieces.take(rows);
        padded = pieces.take(B * (T + W - 1) * (E + 2 * GN));
        end = pieces.at;
    }
};

inline float softplus(float x) { return x > 20 ? x : std::log1p(std::exp(x)); }  // 20: the framework's threshold

}  // namespace

// x, out [B, T, C]; after the last token: state [B, E / P, P, N], conv_state [B, E + 2 G N, W - 1].
extern "C" void mamba2_layer_forward(long B, long T, long C, long E, long P, long G, long N, long W, float eps,
                                     Weights weights, const float* x, float* kept, float* out, float* state,
                                     float* conv_state, int threads) {
    const long rows = B * T, GN = G * N, channels = E + 2 * GN, heads = E / P, width = E + channels + heads, past = W - 1;
    const Mamba2Weights p(channels, heads, W, weights);
    const Mamba2Kept k(B, T, E, GN, heads, W, kept);
    const auto buffer = memory(rows * (width + channels));
    float *projected = buffer.get(), *convolved = projected + rows * width;
    multiply(rows, width, C, plain(x, C), turned(p.in_proj, C), projected, width, threads);
    for (long b = 0; b < B; ++b) std::fill_n(k.padded + b * (T + past) * channels, past * channels, 0.f);
    each_row(rows, threads, [&](long i) {
        const float* from = projected + i * width;
        std::copy_n(from, E, k.z + i * E);
        std::copy_n(from + E, channels, k.padded + (i + (i / T + 1) * past) * channels);
        for (long h = 0; h < heads; ++h) k.dt[i * heads + h] = softplus(from[E + channels + h] + p.dt_bias[h]);
    });
    for (long b = 0; b < B; ++b)
        transpose(past, channels, k.padded + (b * (T + past) + T) * channels, channels, conv_state + b * channels * past, past);
    kernels.conv_forward(B, T, channels, W, k.padded, p.conv.data(), p.conv_bias, convolved, threads);
    each_row(rows, threads, [&](long i) {
        const float* from = convolved + i * channels;
        std::copy_n(from, E, k.x + i * E);
        std::copy_n(from + E, GN, k.Bm + i * GN);
        std::copy_n(from + E + GN, GN, k.Cm + i * GN);
    });
    const std::vector<float> nothing(B * E * N);
    kernels.ssd_forward(B, T, heads, P, G, N, k.x, k.dt, p.A.data(), k.Bm, k.Cm, p.D, nothing.data(), k.y, state, threads);
    kernels.rms_norm_forward(rows, E, eps, k.y, k.z, p.norm_weight, k.normed, k.scales, threads);
    multiply(rows, C, E, plain(k.normed, E), turned(p.out_proj, E), out, C, threads);
}

// gstate as for RWKV-6; gconv_state is that of the convolution's state, or null. gx and all gradients are written.
extern "C" void mamba2_layer_backward(long B, long T, long C, long E, long P, long G, long N, long W, Weights weights,
                                      Gradients gradients, const float* x, float* kept, const float* gout, float* gstate,
                                      const float* gconv_state, float* gx, int threads) {
    const long rows = B * T, GN = G * N, channels = E + 2 * GN, heads = E / P, width = E + channels + heads, past = W - 1;
    const Mamba2Weights p(channels, heads, W, weights);
    const Mamba2Kept k(B, T, E, GN, heads, W, kept);
    const auto buffer = memory(rows * (4 * E + heads + 2 * heads * N + channels + width) + threads * E);
    Pieces pieces{buffer.get()};
    float *gnormed = pieces.take(rows * E), *gy = pieces.take(rows * E), *gz = pieces.take(rows * E);
    float *gxs = pieces.take(rows * E), *gdt = pieces.take(rows * heads);
    float *gB = pieces.take(rows * heads * N), *gC = pieces.take(rows * heads * N);
    float *gconvolved = pieces.take(rows * channels), *gprojected = pieces.take(rows * width);
    float* parts = pieces.take(threads * E);

    multiply(rows, E, C, plain(gout, C), plain(p.out_proj, E), gnormed, E, threads);
    multiply(C, E, rows, turned(gout, C), plain(k.normed, E), gradients[7], E, threads);
    kernels.rms_norm_backward(rows, E, threads, k.y, k.z, p.norm_weight, k.scales, gnormed, gy, gz, parts, threads);
    column_sums(threads, E, parts, gradients[6]);
    const std::vector<float> nothing(B * E * N);
    std::vector<float> gA(B * heads), gD(B * heads);
    kernels.ssd_backward(B, T, heads, P, G, N, 0, k.x, k.dt, p.A.data(), k.Bm, k.Cm, p.D, nothing.data(), gy, gxs, gdt, gA.data(),
                 gB, gC, gD.data(), gstate, threads);
    column_sums(B, heads, gA.data(), gradients[4]);
    for (long h = 0; h < heads; ++h) gradients[4][h] *= p.A[h];
    column_sums(B, heads, gD.data(), gradients[5]);
    each_row(rows, threads, [&](long i) {
        float* to = gconvolved + i * channels;
        std::copy_n(gxs + i * E, E, to);
        std::fill_n(to + E, 2 * GN, 0.f);
        for (long h = 0; h < heads; ++h) {
            float* group = to + E + h / (heads / G) * N;
            for (long n = 0; n < N; ++n) {
                group[n] += gB[(i * heads + h) * N + n];
                group[GN + n] += gC[(i * heads + h) * N + n];
            }
        }
    });
    std::vector<float> gpadded(B * (T + past) * channels), gconv(B * W * channels), gbias(B * channels);
    kernels.conv_backward(B, T, channels, W, k.padded, p.conv.data(), p.conv_bias, gconvolved, gpadded.data(), gconv.data(),
                  gbias.data(), threads);
    std::vector<float> sums(W * channels);
    column_sums(B, W * channels, gconv.data(), sums.data());
    transpose(W, channels, sums.data(), channels, gradients[1], W);
    column_sums(B, channels, gbias.data(), gradients[2]);
    if (gconv_state)
        for (long b = 0; b < B; ++b)
            for (long t = 0; t < past; ++t)
                for (long c = 0; c < channels; ++c)
                    gpadded[(b * (T + past) + T + t) * channels + c] += gconv_state[(b * channels + c) * past + t];
    each_row(rows, threads, [&](long i) {
        float* to = gprojected + i * width;
        std::copy_n(gz + i * E, E, to);
        std::copy_n(gpadded.data() + (i + (i / T + 1) * past) * channels, channels, to + E);
        for (long h = i * heads; h < (i + 1) * heads; ++h)
            to[E + channels + h - i * heads] = gdt[h] *= -std::expm1(-k.dt[h]);  // the derivative of softplus
    });
    column_sums(rows, heads, gdt, gradients[3]);
    multiply(width, C, rows, turned(gprojected, width), plain(x, C), gradients[0], C, threads);
    multiply(rows, C, width, plain(gprojected, width), plain(p.in_proj, C), gx, C, threads);
}

namespace {

// Where the weights of a block begin in its table, after those of RWKV-6.
constexpr long MAMBA2 = 19, MIX_NORM = 27, GATE = 28, GATE_BIAS = 29, FFN_NORM = 30, UP = 31, DOWN = 32;

// Of both mixers; then normed [rows, C] and its scales [rows], the same before the feed-forward layer, the residual
// stream between [rows, C], what GELU gave and its slope [rows, F].
struct BlockKept {
    float *rwkv, *mamba, *normed, *scales, *between, *ffn_normed, *ffn_scales, *inner, *slope;

    BlockKept(long B, long T, long C, long H, long R, long Q, long E, long P, long G, long N, long W, long F, float* kept) {
        const long rows = B * T;
        rwkv = kept;
        mamba = RWKV6Kept(rows, C, H, R, Q, rwkv).end;
        Pieces pieces{Mamba2Kept(B, T, E, G * N, E / P, W, mamba).end};
        for (float** each : {&normed, &between, &ffn_normed}) *each = pieces.take(rows * C);
        for (float** each : {&scales, &ffn_scales}) *each = pieces.take(rows);
        for (float** each : {&inner, &slope}) *each = pieces.take(rows * F);
    }
};

// x becomes GELU(x), and slope its derivative. erf to 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26).
void gelu(long rows, long F, float* x, float* slope, int threads) {
    each_row(rows, threads, [=](long i) {
        float *__restrict__ xi = x + i * F, *__restrict__ si = slope + i * F;
#pragma omp simd
        for (long c = 0; c < F; ++c) {
            const float size = std::fabs(xi[c]) * 0.70710678f, t = 1 / (1 + 0.3275911f * size);
            const float density = exponential(-size * size);
            float p = 1.061405429f;
            p = p * t - 1.453152027f;
            p = p * t + 1.421413741f;
            p = p * t - 0.284496736f;
            p = p * t + 0.254829592f;
            const float below = 0.5f * (1 + std::copysign(1 - p * t * density, xi[c]));
            si[c] = below + xi[c] * density * 0.39894228f;  // 1 / sqrt(2 pi)
            xi[c] *= below;
        }
    });
}

}  // namespace

// A block of both mixers with one gate per position: x, out, rwkv_out, mamba_out [B, T, C], gates [B, T]; the states
// after the last token as above, shift [B, C].
extern "C" void block_forward(long B, long T, long C, long H, long R, long Q, long E, long P, long G, long N, long W, long F,
                              float rwkv_eps, float mamba_eps, float eps, Weights weights, const float* x, float* kept,
                              float* out, float* rwkv_out, float* mamba_out, float* gates, float* shift, float* rwkv_state,
                              float* mamba_state, float* conv_state, int threads) {
    const long rows = B * T;
    const BlockKept k(B, T, C, H, R, Q, E, P, G, N, W, F, kept);
    kernels.rms_norm_forward(rows, C, eps, x, nullptr, weights[MIX_NORM], k.normed, k.scales, threads);
    for (long b = 0; b < B; ++b) std::copy_n(k.normed + (b * T + T - 1) * C, C, shift + b * C);
    rwkv6_layer_forward(B, T, C, H, R, Q, rwkv_eps, weights, k.normed, k.rwkv, rwkv_out, rwkv_state, threads);
    mamba2_layer_forward(B, T, C, E, P, G, N, W, mamba_eps, weights + MAMBA2, k.normed, k.mamba, mamba_out, mamba_state,
                         conv_state, threads);
    const float *__restrict__ gate = weights[GATE], bias = *weights[GATE_BIAS];
    each_row(rows, threads, [&](long i) {
        const float *__restrict__ r = rwkv_out + i * C, *__restrict__ m = mamba_out + i * C;
        float score = bias;
        for (long c = 0; c < C; ++c) score += gate[c] * r[c] + gate[C + c] * m[c];
        const float share = gates[i] = sigmoid(score);
        for (long c = 0; c < C; ++c) k.between[i * C + c] = x[i * C + c] + m[c] + share * (r[c] - m[c]);
    });
    kernels.rms_norm_forward(rows, C, eps, k.between, nullptr, weights[FFN_NORM], k.ffn_normed, k.ffn_scales, threads);
    multiply(rows, F, C, plain(k.ffn_normed, C), turned(weights[UP], C), k.inner, F, threads);
    gelu(rows, F, k.inner, k.slope, threads);
    std::copy_n(k.between, rows * C, out);
    multiply(rows, C, F, plain(k.inner, F), turned(weights[DOWN], F), out, C, threads, true);
}

// Gradients of the states as above. Those of what is only looked at may be null: rwkv_seen, mamba_seen [B, T, C],
// gates_seen [B, T], gshift [B, C]. gx and all gradients of weights are written.
extern "C" void block_backward(long B, long T, long C, long H, long R, long Q, long E, long P, long G, long N, long W, long F,
                               Weights weights, Gradients gradients, const float* x, float* kept, const float* rwkv_out,
                               const float* mamba_out, const float* gates, const float* gout, const float* rwkv_seen,
                               const float* mamba_seen, const float* gates_seen, const float* gshift, float* grwkv_state,
                               float* gmamba_state, const float* gconv_state, float* gx, int threads) {
    const long rows = B * T;
    const BlockKept k(B, T, C, H, R, Q, E, P, G, N, W, F, kept);
    const auto buffer = memory(rows * (5 * C + F) + threads * C + rows);
    Pieces pieces{buffer.get()};
    float *gbetween = pieces.take(rows * C), *gnormed = pieces.take(rows * C), *again = pieces.take(rows * C);
    float *grwkv = pieces.take(rows * C), *gmamba = pieces.take(rows * C), *ginner = pieces.take(rows * F);
    float *parts = pieces.take(threads * C), *gscores = pieces.take(rows);

    multiply(rows, F, C, plain(gout, C), plain(weights[DOWN], F), ginner, F, threads);
    multiply(C, F, rows, turned(gout, C), plain(k.inner, F), gradients[DOWN], F, threads);
    each_row(rows, threads, [&](long i) {
        for (long at = i * F; at < (i + 1) * F; ++at) ginner[at] *= k.slope[at];
    });
    multiply(F, C, rows, turned(ginner, F), plain(k.ffn_normed, C), gradients[UP], C, threads);
    multiply(rows, C, F, plain(ginner, F), plain(weights[UP], C), gnormed, C, threads);
    kernels.rms_norm_backward(rows, C, threads, k.between, nullptr, weights[FFN_NORM], k.ffn_scales, gnormed, gbetween, nullptr,
                      parts, threads);
    column_sums(threads, C, parts, gradients[FFN_NORM]);

    const float* gate = weights[GATE];
    each_row(rows, threads, [&](long i) {
        const float *__restrict__ r = rwkv_out + i * C, *__restrict__ m = mamba_out + i * C, *__restrict__ go = gout + i * C;
        float *__restrict__ g = gbetween + i * C, *__restrict__ gr = grwkv + i * C, *__restrict__ gm = gmamba + i * C;
        const float share = gates[i];
        float to_share = gates_seen ? gates_seen[i] : 0;
        for (long c = 0; c < C; ++c) {
            g[c] += go[c];
            to_share += g[c] * (r[c] - m[c]);
        }
        const float to_score = gscores[i] = to_share * share * (1 - share);
        for (long c = 0; c < C; ++c) {
            gr[c] = share * g[c] + to_score * gate[c];
            gm[c] = (1 - share) * g[c] + to_score * gate[C + c];
        }
        if (rwkv_seen)
            for (long c = 0; c < C; ++c) gr[c] += rwkv_seen[i * C + c];
        if (mamba_seen)
            for (long c = 0; c < C; ++c) gm[c] += mamba_seen[i * C + c];
    });
    multiply(1, C, rows, plain(gscores, rows), plain(rwkv_out, C), gradients[GATE], C, threads);
    multiply(1, C, rows, plain(gscores, rows), plain(mamba_out, C), gradients[GATE] + C, C, threads);
    column_sums(rows, 1, gscores, gradients[GATE_BIAS]);

    mamba2_layer_backward(B, T, C, E, P, G, N, W, weights + MAMBA2, gradients + MAMBA2, k.normed, k.mamba, gmamba,
                          gmamba_state, gconv_state, again, threads);
    rwkv6_layer_backward(B, T, C, H, R, Q, weights, gradients, k.normed, k.rwkv, grwkv, grwkv_state, gnormed, threads);
    for (long i = 0; i < rows * C; ++i) gnormed[i] += again[i];
    for (long b = 0; b < B && gshift; ++b)
        for (long c = 0; c < C; ++c) gnormed[(b * T + T - 1) * C + c] += gshift[b * C + c];
    kernels.rms_norm_backward(rows, C, threads, x, nullptr, weights[MIX_NORM], k.scales, gnormed, gx, nullptr, parts, threads);
    column_sums(threads, C, parts, gradients[MIX_NORM]);
    for (long i = 0; i < rows * C; ++i) gx[i] += gbetween[i];
}
