// A whole model's loss and its gradients in one call: embedding, blocks (layers.cpp), norm, tied head and cross-entropy,
// in fp32. The readable form is HybridLM.forward with cross_entropy of fused.py.
//
// A batch may be computed in parts side by side, each by one thread with gradients of its own, which are added at the end:
// sharing out every product of a small model costs more than it saves. What a part needs is handed out of `work`, sized
// by `gt.kernels.native_model`.

#include <algorithm>

#include "kernels.h"
#include "matrix.h"

namespace {

struct Kernels {
    decltype(&::block_forward) block_forward;
    decltype(&::block_backward) block_backward;
    decltype(&::rms_norm_forward) rms_norm_forward;
    decltype(&::rms_norm_backward) rms_norm_backward;
} kernels;

constexpr long BLOCK = 33;  // weights of a block
constexpr long ROWS = 256, WORDS = 256;  // of the logits that are computed at once: 256 KB, half a second-level cache

// The head: loss and gradients of logits = x E^T, of up to `most` tokens. The logits are the one large thing: a block of
// WORDS columns is made, and later used up, while it is in the cache.
struct Head {
    long C, V, most;
    const float* embedding;
    float *logits, *at_block, *largest, *sums, *said;  // [V, most] in blocks; [blocks, most]; [most] each

    Head(long C, long V, long most, const float* embedding, float* work)
        : C(C), V(V), most(most), embedding(embedding), logits(work), at_block(logits + V * most),
          largest(at_block + blocks() * most), sums(largest + most), said(sums + most) {}

    long blocks() const { return (V + WORDS - 1) / WORDS; }

    // x, gx [rows, C]; targets [rows]; ge [V, C] is written, or added to. Returns the sum of the losses.
    double run(long rows, const float* x, const std::int64_t* targets, float scale, float* gx, float* ge, bool add,
               int threads) const {
        std::fill_n(largest, rows, -INFINITY);
        std::fill_n(sums, rows, 0.f);
        for (long k = 0; k < blocks(); ++k) {
            const long first = k * WORDS, width = std::min(WORDS, V - first);
            float* block = logits + first * most;
            multiply(rows, width, C, plain(x, C), turned(embedding + first * C, C), block, width, threads);
#pragma omp parallel for num_threads(threads) schedule(static)
            for (long i = 0; i < rows; ++i) soften(i, k, width, block + i * width, targets[i] - first);
        }
        for (long k = 0; k < blocks(); ++k) {
            const long first = k * WORDS, width = std::min(WORDS, V - first);
            float* block = logits + first * most;
#pragma omp parallel for num_threads(threads) schedule(static)
            for (long i = 0; i < rows; ++i) {
                float* __restrict__ row = block + i * width;
                const float share = scale * exponential(at_block[k * most + i] - largest[i]) / sums[i];
                for (long j = 0; j < width; ++j) row[j] *= share;
                if (targets[i] >= first && targets[i] < first + width) row[targets[i] - first] -= scale;
            }
            multiply(width, C, rows, turned(block, width), plain(x, C), ge + first * C, C, threads, add);
            multiply(rows, C, width, plain(block, width), plain(embedding + first * C, C), gx, C, threads, k > 0);
        }
        double loss = 0;
        for (long i = 0; i < rows; ++i) loss += std::log(sums[i]) + (largest[i] - said[i]);
        return loss;
    }

    // Logits become their exponentials relative to the largest of the row so far.
    void soften(long i, long k, long width, float* __restrict__ row, long target) const {
        if (target >= 0 && target < width) said[i] = row[target];
        float highest = largest[i], sum = 0;
        for (long j = 0; j < width; ++j) highest = row[j] > highest ? row[j] : highest;
        for (long j = 0; j < width; ++j) {
            row[j] = exponential(row[j] - highest);
            sum += row[j];
        }
        sums[i] = sums[i] * exponential(largest[i] - highest) + sum;
        largest[i] = at_block[k * most + i] = highest;
    }
};

struct Sizes {
    long C, H, R, Q, E, P, G, N, W, F, L, V, kept;
    float rwkv_eps, mamba_eps, eps, norm_eps;
};

// Loss and gradients of some sequences: tokens [B, T + 1].
double run_part(const Sizes& s, long B, long T, float scale, Weights weights, Gradients gradients,
                const std::int64_t* tokens, float* work, int threads) {
    const long rows = B * T, C = s.C, L = s.L;
    const auto take = [&](long size) {
        float* piece = work;
        work += size;
        return piece;
    };
    const float *embedding = weights[L * BLOCK], *norm = weights[L * BLOCK + 1];
    float *x = take((L + 1) * rows * C), *outs = take(2 * L * rows * C), *gates = take(L * rows), *kept = take(L * s.kept);
    float *shift = take(B * C), *rwkv_state = take(B * C * (C / s.H)), *mamba_state = take(B * s.E * s.N);
    float* conv_state = take(B * (s.E + 2 * s.G * s.N) * (s.W - 1));
    float *normed = take(rows * C), *scales = take(rows), *gnormed = take(rows * C), *sums = take(threads * C);
    float* gradient[2] = {take(rows * C), take(rows * C)};
    const Head head(C, s.V, std::min(ROWS, rows), embedding, work);
    std::vector<std::int64_t> targets(rows);

    for (long b = 0; b < B; ++b) {
        const std::int64_t* text = tokens + b * (T + 1);
        std::copy_n(text + 1, T, &targets[b * T]);
        for (long t = 0; t < T; ++t) std::copy_n(embedding + text[t] * C, C, x + (b * T + t) * C);
    }
    for (long l = 0; l < L; ++l) {
        float *from = x + l * rows * C, *rwkv_out = outs + 2 * l * rows * C;
        kernels.block_forward(B, T, C, s.H, s.R, s.Q, s.E, s.P, s.G, s.N, s.W, s.F, s.rwkv_eps, s.mamba_eps, s.eps,
                              weights + l * BLOCK, from, kept + l * s.kept, from + rows * C, rwkv_out, rwkv_out + rows * C,
                              gates + l * rows, shift, rwkv_state, nullptr, conv_state, threads);
    }
    const float* last = x + L * rows * C;
    float *ge = gradients[L * BLOCK], *gnorm = gradients[L * BLOCK + 1];
    double loss = 0;
    kernels.rms_norm_forward(rows, C, s.norm_eps, last, nullptr, norm, normed, scales, threads);
    for (long i = 0; i < rows; i += ROWS)
        loss += head.run(std::min(ROWS, rows - i), normed + i * C, &targets[i], scale, gnormed + i * C, ge, i > 0, threads);
    kernels.rms_norm_backward(rows, C, threads, last, nullptr, norm, scales, gnormed, gradient[L % 2], nullptr, sums, threads);
    std::fill_n(gnorm, C, 0.f);
    for (long i = 0; i < threads * C; ++i) gnorm[i % C] += sums[i];
    for (long l = L - 1; l >= 0; --l) {
        const float* rwkv_out = outs + 2 * l * rows * C;
        std::fill_n(rwkv_state, B * C * (C / s.H), 0.f);  // gradients of what nobody reads
        std::fill_n(mamba_state, B * s.E * s.N, 0.f);
        kernels.block_backward(B, T, C, s.H, s.R, s.Q, s.E, s.P, s.G, s.N, s.W, s.F, weights + l * BLOCK,
                               gradients + l * BLOCK, x + l * rows * C, kept + l * s.kept, rwkv_out, rwkv_out + rows * C,
                               gates + l * rows, gradient[(l + 1) % 2], nullptr, nullptr, nullptr, nullptr, rwkv_state,
                               mamba_state, nullptr, gradient[l % 2], threads);
    }
    for (long i = 0; i < rows; ++i) {
        float* __restrict__ to = ge + tokens[i / T * (T + 1) + i % T] * C;
        const float* __restrict__ from = gradient[0] + i * C;
        for (long c = 0; c < C; ++c) to[c] += from[c];
    }
    return loss;
}

}  // namespace

// Before anything else here: where the kernels are, in the order of `Kernels`.
extern "C" void model_use(const void* addresses, int) { std::memcpy(&kernels, addresses, sizeof kernels); }

// tokens [B, T + 1]; weights: those of every block, the embedding [V, C], the last norm; gradients: the same of every part,
// each as `count` numbers in a row from their first on. Part p has the sequences up to B (p + 1) / parts, rounded up, and
// `room` numbers of `work`. Writes the mean cross-entropy [] and the gradients of the first part, which are the sum.
extern "C" void model_gradients(long parts, long B, long T, long C, long H, long R, long Q, long E, long P, long G, long N,
                                long W, long F, long L, long V, long kept, long room, long count, float rwkv_eps,
                                float mamba_eps, float eps, float norm_eps, Weights weights, Gradients gradients,
                                const std::int64_t* tokens, float* work, float* loss, int threads) {
    const Sizes sizes{C, H, R, Q, E, P, G, N, W, F, L, V, kept, rwkv_eps, mamba_eps, eps, norm_eps};
    const long tensors = L * BLOCK + 2;
    const auto first = [=](long part) { return (B * part + parts - 1) / parts; };
    double total = 0;
#pragma omp parallel for num_threads(std::min<long>(parts, threads)) schedule(static) reduction(+ : total)
    for (long part = 0; part < parts; ++part)
        total += run_part(sizes, first(part + 1) - first(part), T, 1.f / (B * T), weights, gradients + part * tensors,
                          tokens + first(part) * (T + 1), work + part * room, parts > 1 ? 1 : threads);
    for (long part = 1; part < parts; ++part) {
        float* __restrict__ to = gradients[0];
        const float* __restrict__ from = gradients[part * tensors];
#pragma omp parallel for num_threads(threads) schedule(static)
        for (long i = 0; i < count; ++i) to[i] += from[i];
    }
    *loss = static_cast<float>(total / (B * T));
}
