// Causal depthwise convolution over time with SiLU, forward and backward, in fp32. The readable form is in reference.py.
// x [B, T + W - 1, D] (the past in front), weight [W, D] (oldest tap first), bias [D], y [B, T, D]; all contiguous.

#include "common.h"
#include "kernels.h"

namespace {

inline void convolve(long D, long W, const float* __restrict__ in, const float* __restrict__ weight,
                     const float* __restrict__ bias, float* __restrict__ out) {
    if (W == 4) {  // Mamba-2's width: one pass
        for (long d = 0; d < D; ++d)
            out[d] = bias[d] + weight[d] * in[d] + weight[D + d] * in[D + d] + weight[2 * D + d] * in[2 * D + d] +
                     weight[3 * D + d] * in[3 * D + d];
        return;
    }
    for (long d = 0; d < D; ++d) out[d] = bias[d];
    for (long j = 0; j < W; ++j)
        for (long d = 0; d < D; ++d) out[d] += weight[j * D + d] * in[j * D + d];
}

}  // namespace

extern "C" void conv_forward(long B, long T, long D, long W, const float* x, const float* weight, const float* bias,
                             float* y, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long bt = 0; bt < B * T; ++bt) {
        float* out = y + bt * D;
        convolve(D, W, x + (bt / T * (T + W - 1) + bt % T) * D, weight, bias, out);
        for (long d = 0; d < D; ++d) out[d] *= sigmoid(out[d]);
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
                convolve(D, W, in, weight, bias, gz);
                for (long d = 0; d < D; ++d) {
                    const float s = sigmoid(gz[d]);
                    gz[d] = gyt[d] * s * (1 + gz[d] * (1 - s));
                    gb[d] += gz[d];
                }
                for (long j = 0; j < W; ++j) {
                    const float *__restrict__ xj = in + j * D, *__restrict__ wj = weight + j * D;
                    float* __restrict__ gxj = gx + (b * (T + W - 1) + t + j) * D;
                    float* __restrict__ gw = gweight + (b * W + j) * D;
                    for (long d = 0; d < D; ++d) {
                        gw[d] += gz[d] * xj[d];
                        gxj[d] += gz[d] * wj[d];
                    }
                }
            }
        }
    }
}
