// SSD (Mamba-2) in fp32, one (sequence, head) per iteration of the parallel loop: forward token by token, backward in
// chunked matrix form, everything of a chunk in the cache. The readable form is in reference.py.
//
// Inside a chunk, with c_i the log-decay summed up to and including token i (in fp64: differences of sums cancel):
//   y_i = sum_{j <= i} (C_i . B_j) exp(c_i - c_j) dt_j x_j + exp(c_i) S0 C_i + D x_i
//   S'  = exp(c_last) S0 + sum_j exp(c_last - c_j) dt_j x_j B_j^T
// x, y [B, T, H, P], dt [B, T, H], A, D [H], Bm, Cm [B, T, G, N], states [B, H, P, N]; all contiguous.

#include <algorithm>

#include "common.h"
#include "kernels.h"

namespace {

constexpr long CHUNK = 64;  // tokens: the matrices of a chunk are then of a head's size
constexpr long STRIP = 16;  // rows of a triangular matrix that are multiplied at once, to the diagonal and no further

inline long padded(long size) { return (size + 7) / 8 * 8; }

struct Buffer {
    std::vector<float> memory;
    explicit Buffer(long size) : memory(size, 0.f) {}
    operator float*() { return memory.data(); }
};

inline bool any(const float* values, long count) {
    for (long i = 0; i < count; ++i)
        if (values[i] != 0) return true;  // NaN is not equal to 0 either
    return false;
}

// Rows of a [B, T, H, width] tensor at one head, padded with zeros to `ld` columns.
[[gnu::noinline]] void gather(long tokens, long width, long stride, const float* from, float* to, long ld) {
    for (long t = 0; t < tokens; ++t) {
        std::memcpy(to + t * ld, from + t * stride, sizeof(float) * width);
        for (long i = width; i < ld; ++i) to[t * ld + i] = 0;
    }
}

// What a chunk of one head is computed from. The state is kept as [N, P].
struct Chunk {
    long P, N, Pp, Np, tokens = 0;
    Buffer x, Bm, Cm, Bt, scores, decay;
    double sum[CHUNK];
    float dt[CHUNK] = {}, from_start[CHUNK], to_end[CHUNK], total = 1;

    Chunk(long P, long N)
        : P(P), N(N), Pp(padded(P)), Np(padded(N)), x(CHUNK * Pp), Bm(CHUNK * Np), Cm(CHUNK * Np), Bt(Np * CHUNK),
          scores(CHUNK * CHUNK), decay(CHUNK * CHUNK) {}

    [[gnu::noinline]] void read(long count, long H, long G, float A, const float* x_at, const float* dt_at, const float* B_at,
              const float* C_at) {
        tokens = count;
        gather(tokens, P, H * P, x_at, x, Pp);
        gather(tokens, N, G * N, B_at, Bm, Np);
        gather(tokens, N, G * N, C_at, Cm, Np);
        double running = 0;
        float logs[CHUNK];
        for (long t = 0; t < tokens; ++t) {
            dt[t] = dt_at[t * H];
            sum[t] = running += static_cast<double>(dt[t]) * A;
        }
        for (long t = 0; t < tokens; ++t) logs[t] = static_cast<float>(sum[t]);
        exponentials(from_start, logs, tokens);
        for (long t = 0; t < tokens; ++t) logs[t] = static_cast<float>(running - sum[t]);
        exponentials(to_end, logs, tokens);
        total = exponential(static_cast<float>(running));
    }

    // scores = C B^T and decay = exp(c_i - c_j), both on and below the diagonal only.
    [[gnu::noinline]] void compare() {
        transpose(tokens, Np, Bm, Np, Bt, CHUNK);
        std::memset(scores, 0, sizeof(float) * CHUNK * CHUNK);
        for (long i = 0; i < tokens; i += STRIP) {
            const long rows = std::min(STRIP, tokens - i);
            add_product(rows, padded(i + rows), Np, Cm + i * Np, Np, 1, Bt, CHUNK, scores + i * CHUNK, CHUNK);
        }
        for (long i = 0; i < tokens; ++i) {
            float* __restrict__ row = decay + i * CHUNK;
            for (long j = 0; j <= i; ++j) row[j] = static_cast<float>(sum[i] - sum[j]);
            for (long j = 0; j <= i; ++j) row[j] = exponential(row[j]);
            for (long j = i + 1; j < CHUNK; ++j) row[j] = 0;
        }
    }

    // to = exp(c_last) from + sum_j B_j (exp(c_last - c_j) dt_j x_j)^T, [N, P]; `to` may be `from`. Uses `scaled`.
    [[gnu::noinline]] void advance(const float* from, float* to, float* scaled) {
        for (long j = 0; j < tokens; ++j)
            for (long p = 0; p < Pp; ++p) scaled[j * Pp + p] = to_end[j] * dt[j] * x[j * Pp + p];
        for (long i = 0; i < Np * Pp; ++i) to[i] = total * from[i];
        add_product(Np, Pp, tokens, Bm, 1, Np, scaled, Pp, to, Pp);
    }
};

inline void read_state(long P, long N, const float* state, float* to, long Pp) { transpose(P, N, state, N, to, Pp); }

inline void write_state(long P, long N, const float* from, long Pp, float* state) { transpose(N, P, from, Pp, state, N); }

}  // namespace

namespace {

// Tokens of one head, one after the other.
void step_by_step(long T, long P, long N, long to_next, long group_to_next, const float* x, const float* dt, long dt_to_next,
                  float A, const float* Bm, const float* Cm, float D, float* S, float* y) {
    for (long t = 0; t < T; ++t) {
        const float *xt = x + t * to_next, *Bt = Bm + t * group_to_next, *Ct = Cm + t * group_to_next;
        const float step = dt[t * dt_to_next], decay = exponential(step * A);
        for (long p = 0; p < P; ++p) {
            const float add = step * xt[p];
            float* __restrict__ row = S + p * N;
            float sum = 0;
            for (long n = 0; n < N; ++n) {
                row[n] = decay * row[n] + add * Bt[n];
                sum += row[n] * Ct[n];
            }
            y[t * to_next + p] = sum + D * xt[p];
        }
    }
}

}  // namespace

// One token after the other, so that what is not finite spreads to no token before it. Where sT is null, which is to say
// that a loss alone is asked for, in chunks: a third of the time, since the last state is not computed.
extern "C" void ssd_forward(long B, long T, long H, long P, long G, long N, const float* x, const float* dt,
                            const float* A, const float* Bm, const float* Cm, const float* D, const float* s0, float* y,
                            float* sT, int threads) {
#pragma omp parallel num_threads(threads)
    {
        const bool in_chunks = !sT;
        Chunk chunk(in_chunks ? P : 0, in_chunks ? N : 0);
        const long Pp = chunk.Pp, Np = chunk.Np;
        Buffer state(Np * Pp), out(CHUNK * Pp), scaled(CHUNK * Pp);
#pragma omp for schedule(static)
        for (long bh = 0; bh < B * H; ++bh) {
            const long b = bh / H, h = bh % H, g = h / (H / G), start = b * T * H + h, group_start = b * T * G + g;
            if (!in_chunks) {
                std::memcpy(sT + bh * P * N, s0 + bh * P * N, sizeof(float) * P * N);
                step_by_step(T, P, N, H * P, G * N, x + start * P, dt + start, H, A[h], Bm + group_start * N,
                             Cm + group_start * N, D[h], sT + bh * P * N, y + start * P);
                continue;
            }
            std::memset(state, 0, sizeof(float) * Np * Pp);
            read_state(P, N, s0 + bh * P * N, state, Pp);
            for (long first = 0; first < T; first += CHUNK) {
                const long at = start + first * H, group = group_start + first * G, q = std::min(CHUNK, T - first);
                chunk.read(q, H, G, A[h], x + at * P, dt + at, Bm + group * N, Cm + group * N);
                chunk.compare();
                std::memset(out, 0, sizeof(float) * q * Pp);
                if (any(state, Np * Pp)) {
                    add_product(q, Pp, Np, chunk.Cm, Np, 1, state, Pp, out, Pp);
                    for (long i = 0; i < q; ++i)
                        for (long p = 0; p < Pp; ++p) out[i * Pp + p] *= chunk.from_start[i];
                }
                for (long i = 0; i < q; ++i) {
                    float *__restrict__ s = chunk.scores + i * CHUNK, *__restrict__ w = chunk.decay + i * CHUNK;
                    for (long j = 0; j < CHUNK; ++j) s[j] *= w[j] * chunk.dt[j];  // past the diagonal, w is 0
                }
                for (long i = 0; i < q; i += STRIP) {
                    const long rows = std::min(STRIP, q - i);
                    add_product(rows, Pp, i + rows, chunk.scores + i * CHUNK, CHUNK, 1, chunk.x, Pp, out + i * Pp, Pp);
                }
                for (long i = 0; i < q; ++i)
                    for (long p = 0; p < P; ++p) y[(at + i * H) * P + p] = out[i * Pp + p] + D[h] * chunk.x[i * Pp + p];
                if (first + CHUNK < T) chunk.advance(state, state, scaled);
            }
        }
    }
}

// gB and gC are [B, T, H, N], gA and gD [B, H]: the caller sums them over the heads of a group and over B.
// gs0 holds the gradient of the final state on entry; that of the initial state is written if it is wanted.
extern "C" void ssd_backward(long B, long T, long H, long P, long G, long N, long wanted, const float* x, const float* dt,
                             const float* A, const float* Bm, const float* Cm, const float* D, const float* s0,
                             const float* gy, float* gx, float* gdt, float* gA, float* gB, float* gC, float* gD,
                             float* gs0, int threads) {
    const long chunks = (T + CHUNK - 1) / CHUNK;
#pragma omp parallel num_threads(threads)
    {
        Chunk chunk(P, N);
        const long Pp = chunk.Pp, Np = chunk.Np, size = Np * Pp;
        Buffer starts(chunks * size), gradient(size), plain(size), xt(Pp * CHUNK), products(CHUNK * CHUNK);
        Buffer gout(CHUNK * Pp), scaled(CHUNK * std::max(Pp, Np)), gxc(CHUNK * Pp), gBc(CHUNK * Np), gCc(CHUNK * Np);
        Buffer part(CHUNK * std::max(Pp, Np));
#pragma omp for schedule(static)
        for (long bh = 0; bh < B * H; ++bh) {
            const long b = bh / H, h = bh % H, g = h / (H / G);
            const auto read = [&](long c) {
                const long first = c * CHUNK, at = (b * T + first) * H + h, group = (b * T + first) * G + g;
                chunk.read(std::min(CHUNK, T - first), H, G, A[h], x + at * P, dt + at, Bm + group * N, Cm + group * N);
                return at;
            };
            std::memset(starts, 0, sizeof(float) * size);
            read_state(P, N, s0 + bh * P * N, starts, Pp);
            for (long c = 0; c + 1 < chunks; ++c) {
                read(c);
                chunk.advance(starts + c * size, starts + (c + 1) * size, scaled);
            }
            std::memset(gradient, 0, sizeof(float) * size);  // of the state after the chunk, [N, P]
            read_state(P, N, gs0 + bh * P * N, gradient, Pp);
            bool has_gradient = any(gradient, size);
            for (long c = chunks - 1; c >= 0; --c) {
                const long at = read(c), q = chunk.tokens;
                const float* S = starts + c * size;
                chunk.compare();
                gather(q, P, H * P, gy + at * P, gout, Pp);
                transpose(q, Pp, chunk.x, Pp, xt, CHUNK);
                // products_ij = gy_i . x_j on and below the diagonal
                std::memset(products, 0, sizeof(float) * CHUNK * CHUNK);
                for (long i = 0; i < q; i += STRIP) {
                    const long rows = std::min(STRIP, q - i);
                    add_product(rows, padded(i + rows), Pp, gout + i * Pp, Pp, 1, xt, CHUNK, products + i * CHUNK, CHUNK);
                }
                // From here: scores = weights of y, products = gradient of C_i . B_j, decay = gradient of c_i - c_j.
                float direct[CHUNK] = {}, log_decay[CHUNK] = {};
                for (long i = 0; i < q; ++i) {
                    float* __restrict__ s = chunk.scores + i * CHUNK;
                    float* __restrict__ w = chunk.decay + i * CHUNK;
                    float* __restrict__ d = products + i * CHUNK;
                    for (long j = 0; j <= i; ++j) {
                        const float weight = s[j] * w[j], to_step = d[j] * weight;
                        direct[j] += to_step;
                        d[j] *= w[j] * chunk.dt[j];
                        s[j] = weight * chunk.dt[j];
                        w[j] = to_step * chunk.dt[j];
                    }
                    for (long j = i + 1; j < CHUNK; ++j) s[j] = d[j] = 0;  // strips reach past the diagonal
                }
                // The decay of token t lies between every j < t and i >= t: sums of sums, nothing that cancels.
                float below[CHUNK] = {};
                for (long t = q - 1; t >= 0; --t) {
                    const float* __restrict__ w = chunk.decay + t * CHUNK;
                    float sum = 0;
                    for (long j = 0; j < t; ++j) {
                        below[j] += w[j];
                        sum += below[j];
                    }
                    log_decay[t] += sum;
                }
                float skip = 0;
                for (long i = 0; i < q * Pp; ++i) {
                    gxc[i] = D[h] * gout[i];
                    skip += gout[i] * chunk.x[i];
                }
                gD[bh] += skip;
                std::memset(gBc, 0, sizeof(float) * q * Np);
                std::memset(gCc, 0, sizeof(float) * q * Np);
                for (long i = 0; i < q; i += STRIP) {
                    const long rows = std::min(STRIP, q - i), left = q - i;
                    add_product(rows, Np, i + rows, products + i * CHUNK, CHUNK, 1, chunk.Bm, Np, gCc + i * Np, Np);
                    add_product(rows, Np, left, products + i * CHUNK + i, 1, CHUNK, chunk.Cm + i * Np, Np, gBc + i * Np, Np);
                    add_product(rows, Pp, left, chunk.scores + i * CHUNK + i, 1, CHUNK, gout + i * Pp, Pp, gxc + i * Pp, Pp);
                }
                if (has_gradient) {
                    std::memset(part, 0, sizeof(float) * q * Pp);  // G B_j
                    add_product(q, Pp, Np, chunk.Bm, Np, 1, gradient, Pp, part, Pp);
                    float before = 0;
                    for (long j = 0; j < q; ++j) {
                        float reached = 0;
                        for (long p = 0; p < Pp; ++p) {
                            const float value = chunk.to_end[j] * part[j * Pp + p];
                            reached += chunk.x[j * Pp + p] * value;
                            gxc[j * Pp + p] += chunk.dt[j] * value;
                            scaled[j * Pp + p] = chunk.to_end[j] * chunk.dt[j] * chunk.x[j * Pp + p];
                        }
                        direct[j] += reached;
                        log_decay[j] += before;
                        before += chunk.dt[j] * reached;
                    }
                    transpose(Np, Pp, gradient, Pp, plain, Np);
                    add_product(q, Np, Pp, scaled, Pp, 1, plain, Np, gBc, Np);
                }
                if (c > 0 || any(S, size)) {
                    transpose(Np, Pp, S, Pp, plain, Np);
                    std::memset(part, 0, sizeof(float) * q * Np);  // gy_i S0
                    add_product(q, Np, Pp, gout, Pp, 1, plain, Np, part, Np);
                    float after = 0, through = 0;
                    for (long i = 0; i < size; ++i) through += gradient[i] * S[i];
                    for (long i = q - 1; i >= 0; --i) {
                        float reached = 0;
                        for (long n = 0; n < Np; ++n) {
                            const float value = chunk.from_start[i] * part[i * Np + n];
                            reached += value * chunk.Cm[i * Np + n];
                            gCc[i * Np + n] += value;
                        }
                        after += reached;
                        log_decay[i] += after + chunk.total * through;
                    }
                }
                for (long i = 0; i < q; ++i) {
                    gdt[at + i * H] = direct[i] + A[h] * log_decay[i];
                    gA[bh] += chunk.dt[i] * log_decay[i];
                    std::memcpy(gx + (at + i * H) * P, gxc + i * Pp, sizeof(float) * P);
                    std::memcpy(gB + (at + i * H) * N, gBc + i * Np, sizeof(float) * N);
                    std::memcpy(gC + (at + i * H) * N, gCc + i * Np, sizeof(float) * N);
                    for (long p = 0; p < Pp; ++p) scaled[i * Pp + p] = chunk.from_start[i] * gout[i * Pp + p];
                }
                if (c == 0 && !wanted) break;
                for (long i = 0; i < size; ++i) gradient[i] *= chunk.total;
                add_product(Np, Pp, q, chunk.Cm, 1, Np, scaled, Pp, gradient, Pp);
                has_gradient = true;
            }
            if (wanted) write_state(P, N, gradient, Pp, gs0 + bh * P * N);
        }
    }
}
