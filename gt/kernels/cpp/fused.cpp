// Functions that a framework spreads over many passes through memory, in one pass each, forward and backward, in fp32.
// Their readable forms are in fused.py. All tensors are contiguous.

#include <algorithm>

#include "common.h"
#include "kernels.h"

// Cross-entropy: logits [rows, V], targets [rows]; losses, maxima, log_sums [rows].
extern "C" void cross_entropy_forward(long rows, long V, const float* logits, const std::int64_t* targets,
                                      float* losses, float* maxima, float* log_sums, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long i = 0; i < rows; ++i) {
        const float* row = logits + i * V;
        float8 most = all8(row[0]);
        long tail = 0;
        for (; tail + 8 <= V; tail += 8) {
            const float8 next = load8(row + tail);
            most = next > most ? next : most;
        }
        float largest = most[0], sum = 0;
        for (int k = 1; k < 8; ++k) largest = std::max(largest, most[k]);
        for (; tail < V; ++tail) largest = std::max(largest, row[tail]);
        for (long j = 0; j < V; ++j) sum += exponential(row[j] - largest);
        maxima[i] = largest;
        log_sums[i] = std::log(sum);  // relative to the largest: logits far from 0 lose no digits
        losses[i] = log_sums[i] + (largest - row[targets[i]]);
    }
}

// gradient = scale (softmax(logits) - onehot(target)), with a scale for all rows (stride 0) or for each (stride 1)
extern "C" void cross_entropy_backward(long rows, long V, long stride, const float* logits, const std::int64_t* targets,
                                       const float* maxima, const float* log_sums, const float* scales, float* gradient,
                                       int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long i = 0; i < rows; ++i) {
        const float* __restrict__ row = logits + i * V;
        float* __restrict__ out = gradient + i * V;
        const float largest = maxima[i], scale = scales[i * stride], share = scale / std::exp(log_sums[i]);
        for (long j = 0; j < V; ++j) out[j] = share * exponential(row[j] - largest);
        out[targets[i]] -= scale;
    }
}

// RWKV-6's token shift with mixing: x, previous [rows, C], base [M, C], shares, out [M, rows, C];
// out_m = x + (previous - x) (base_m + shares_m)
extern "C" void token_mix_forward(long rows, long C, long M, const float* x, const float* previous, const float* base,
                                  const float* shares, float* out, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) collapse(2)
    for (long m = 0; m < M; ++m)
        for (long i = 0; i < rows; ++i) {
            const float *__restrict__ xi = x + i * C, *__restrict__ pi = previous + i * C;
            const float *__restrict__ bm = base + m * C, *__restrict__ sm = shares + (m * rows + i) * C;
            float* __restrict__ o = out + (m * rows + i) * C;
            for (long c = 0; c < C; ++c) o[c] = xi[c] + (pi[c] - xi[c]) * (bm[c] + sm[c]);
        }
}

// gbase is [parts, M, C], one part for each share of the rows: the caller sums them. All gradients are written.
extern "C" void token_mix_backward(long rows, long C, long M, long parts, const float* x, const float* previous,
                                   const float* base, const float* shares, const float* gout, float* gx,
                                   float* gprevious, float* gbase, float* gshares, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long part = 0; part < parts; ++part) {
        float* gb = gbase + part * M * C;
        std::fill(gb, gb + M * C, 0.f);
        for (long i = rows * part / parts; i < rows * (part + 1) / parts; ++i) {
            const float *__restrict__ xi = x + i * C, *__restrict__ pi = previous + i * C;
            float *__restrict__ gxi = gx + i * C, *__restrict__ gpi = gprevious + i * C;
            std::fill(gxi, gxi + C, 0.f);
            std::fill(gpi, gpi + C, 0.f);
            for (long m = 0; m < M; ++m) {
                const float *__restrict__ g = gout + (m * rows + i) * C, *__restrict__ s = shares + (m * rows + i) * C;
                const float* __restrict__ bm = base + m * C;
                float *__restrict__ gs = gshares + (m * rows + i) * C, *__restrict__ gbm = gb + m * C;
#pragma omp simd
                for (long c = 0; c < C; ++c) {
                    const float to_previous = g[c] * (bm[c] + s[c]);
                    gpi[c] += to_previous;
                    gxi[c] += g[c] - to_previous;
                    gs[c] = g[c] * (pi[c] - xi[c]);
                    gbm[c] += gs[c];
                }
            }
        }
    }
}

// RMSNorm of x, or of x silu(gate) where gate is not null: x, gate, out [rows, C], weight [C]; scales [rows].
extern "C" void rms_norm_forward(long rows, long C, float eps, const float* x, const float* gate, const float* weight,
                                 float* out, float* scales, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long i = 0; i < rows; ++i) {
        const float *__restrict__ xi = x + i * C, *__restrict__ zi = gate + i * C;
        float* __restrict__ o = out + i * C;
        float sum = 0;
        if (gate) {
            for (long c = 0; c < C; ++c) o[c] = xi[c] * zi[c] * sigmoid(zi[c]);
        } else {
            for (long c = 0; c < C; ++c) o[c] = xi[c];
        }
        for (long c = 0; c < C; ++c) sum += o[c] * o[c];
        const float scale = scales[i] = 1 / std::sqrt(sum / C + eps);
        for (long c = 0; c < C; ++c) o[c] *= scale * weight[c];
    }
}

// gweight is [parts, C], as gbase above; ggate is written where gate is not null.
extern "C" void rms_norm_backward(long rows, long C, long parts, const float* x, const float* gate, const float* weight,
                                  const float* scales, const float* gout, float* gx, float* ggate, float* gweight,
                                  int threads) {
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> buffer(C);
        float* __restrict__ a = buffer.data();
#pragma omp for schedule(static)
        for (long part = 0; part < parts; ++part) {
            float* __restrict__ gw = gweight + part * C;
            std::fill(gw, gw + C, 0.f);
            for (long i = rows * part / parts; i < rows * (part + 1) / parts; ++i) {
                const float *__restrict__ xi = x + i * C, *__restrict__ zi = gate + i * C, *__restrict__ g = gout + i * C;
                float *__restrict__ gxi = gx + i * C, *__restrict__ gzi = ggate + i * C;
                const float scale = scales[i];
                float sum = 0;
                if (gate) {
                    for (long c = 0; c < C; ++c) a[c] = scale * xi[c] * zi[c] * sigmoid(zi[c]);
                } else {
                    for (long c = 0; c < C; ++c) a[c] = scale * xi[c];
                }
                for (long c = 0; c < C; ++c) {
                    gw[c] += g[c] * a[c];
                    sum += g[c] * weight[c] * a[c];
                }
                const float mean = sum / C;
                for (long c = 0; c < C; ++c) gxi[c] = scale * (g[c] * weight[c] - a[c] * mean);
                if (!gate) continue;
                for (long c = 0; c < C; ++c) {
                    const float s = sigmoid(zi[c]);
                    gzi[c] = gxi[c] * xi[c] * s * (1 + zi[c] * (1 - s));
                    gxi[c] *= zi[c] * s;
                }
            }
        }
    }
}

// GroupNorm of x, then times silu(gate): x, gate, out [rows, C], weight, bias [C]; means, scales [rows, groups].
extern "C" void group_norm_forward(long rows, long C, long groups, float eps, const float* x, const float* gate,
                                   const float* weight, const float* bias, float* out, float* means, float* scales,
                                   int threads) {
    const long size = C / groups;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long i = 0; i < rows * groups; ++i) {
        const long row = i / groups, first = i % groups * size;
        const float *__restrict__ xi = x + row * C + first, *__restrict__ zi = gate + row * C + first;
        const float *__restrict__ w = weight + first, *__restrict__ b = bias + first;
        float* __restrict__ o = out + row * C + first;
        float sum = 0, squares = 0;
        for (long c = 0; c < size; ++c) sum += xi[c];
        const float mean = means[i] = sum / size;
        for (long c = 0; c < size; ++c) squares += (xi[c] - mean) * (xi[c] - mean);
        const float scale = scales[i] = 1 / std::sqrt(squares / size + eps);
        for (long c = 0; c < size; ++c) o[c] = ((xi[c] - mean) * scale * w[c] + b[c]) * zi[c] * sigmoid(zi[c]);
    }
}

// gweight and gbias are [parts, C], as gbase above.
extern "C" void group_norm_backward(long rows, long C, long groups, long parts, const float* x, const float* gate,
                                    const float* weight, const float* bias, const float* means, const float* scales,
                                    const float* gout, float* gx, float* ggate, float* gweight, float* gbias,
                                    int threads) {
    const long size = C / groups;
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> buffer(2 * size);
        float *__restrict__ n = buffer.data(), *__restrict__ gn = n + size;  // the normalised input and its gradient
#pragma omp for schedule(static)
        for (long part = 0; part < parts; ++part) {
            std::fill(gweight + part * C, gweight + (part + 1) * C, 0.f);
            std::fill(gbias + part * C, gbias + (part + 1) * C, 0.f);
            for (long i = rows * part / parts * groups; i < rows * (part + 1) / parts * groups; ++i) {
                const long first = i % groups * size, at = i / groups * C + first;
                const float *__restrict__ w = weight + first, *__restrict__ b = bias + first;
                float *__restrict__ gw = gweight + part * C + first, *__restrict__ gb = gbias + part * C + first;
                float mean = 0, product = 0;
#pragma omp simd reduction(+ : mean, product)
                for (long c = 0; c < size; ++c) {
                    const float z = gate[at + c], s = sigmoid(z), g = gout[at + c];
                    n[c] = (x[at + c] - means[i]) * scales[i];
                    ggate[at + c] = g * (n[c] * w[c] + b[c]) * s * (1 + z * (1 - s));
                    const float to_norm = g * z * s;
                    gw[c] += to_norm * n[c];
                    gb[c] += to_norm;
                    gn[c] = to_norm * w[c];
                    mean += gn[c];
                    product += gn[c] * n[c];
                }
                mean /= size;
                product /= size;
                for (long c = 0; c < size; ++c) gx[at + c] = scales[i] * (gn[c] - mean - n[c] * product);
            }
        }
    }
}
