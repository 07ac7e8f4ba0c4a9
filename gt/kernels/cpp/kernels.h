// The kernels that others are made of. What they do and the shapes stand beside each of them.
#pragma once

// Tables of weights, and of where their gradients go.
using Weights = const float* const*;
using Gradients = float* const*;

extern "C" {
void wkv6_forward(long B, long T, long H, long K, long V, const float* r, const float* k, const float* v, const float* w,
                  const float* u, const float* s0, float* y, float* sT, int threads);
void wkv6_backward(long B, long T, long H, long K, long V, const float* r, const float* k, const float* v, const float* w,
                   const float* u, const float* s0, const float* gy, float* gr, float* gk, float* gv, float* gw, float* gu,
                   float* gs0, int threads);
void ssd_forward(long B, long T, long H, long P, long G, long N, const float* x, const float* dt, const float* A,
                 const float* Bm, const float* Cm, const float* D, const float* s0, float* y, float* sT, int threads);
void ssd_backward(long B, long T, long H, long P, long G, long N, long wanted, const float* x, const float* dt,
                  const float* A, const float* Bm, const float* Cm, const float* D, const float* s0, const float* gy,
                  float* gx, float* gdt, float* gA, float* gB, float* gC, float* gD, float* gs0, int threads);
void conv_forward(long B, long T, long D, long W, const float* x, const float* weight, const float* bias, float* y,
                  int threads);
void conv_backward(long B, long T, long D, long W, const float* x, const float* weight, const float* bias, const float* gy,
                   float* gx, float* gweight, float* gbias, int threads);
void rms_norm_forward(long rows, long C, float eps, const float* x, const float* gate, const float* weight, float* out,
                      float* scales, int threads);
void rms_norm_backward(long rows, long C, long parts, const float* x, const float* gate, const float* weight,
                       const float* scales, const float* gout, float* gx, float* ggate, float* gweight, int threads);
void group_norm_forward(long rows, long C, long groups, float eps, const float* x, const float* gate, const float* weight,
                        const float* bias, float* out, float* means, float* scales, int threads);
void group_norm_backward(long rows, long C, long groups, long parts, const float* x, const float* gate, const float* weight,
                         const float* bias, const float* means, const float* scales, const float* gout, float* gx,
                         float* ggate, float* gweight, float* gbias, int threads);
void block_forward(long B, long T, long C, long H, long R, long Q, long E, long P, long G, long N, long W, long F,
                   float rwkv_eps, float mamba_eps, float eps, Weights weights, const float* x, float* kept, float* out,
                   float* rwkv_out, float* mamba_out, float* gates, float* shift, float* rwkv_state, float* mamba_state,
                   float* conv_state, int threads);
void block_backward(long B, long T, long C, long H, long R, long Q, long E, long P, long G, long N, long W, long F,
                    Weights weights, Gradients gradients, const float* x, float* kept, const float* rwkv_out,
                    const float* mamba_out, const float* gates, const float* gout, const float* rwkv_seen,
                    const float* mamba_seen, const float* gates_seen, const float* gshift, float* grwkv_state,
                    float* gmamba_state, const float* gconv_state, float* gx, int threads);
}
