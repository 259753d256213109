#pragma once
// Both forms of the GELU and their derivatives.

#include "kernels/cuda/device.cuh"

namespace protalbert::cuda {

// The tanh form is x sigmoid(2 u) with u = sqrt(2 / pi) (x + 0.044715 x^3): one exponential, and no 1 - tanh that would
// cancel.
constexpr float gelu_slope = 0.797884560802865F;  // sqrt(2 / pi)
constexpr float gelu_cube = 0.044715F;

__device__ inline float gelu_tanh(float x) {
    const float u = gelu_slope * (x + gelu_cube * x * x * x);
    return x / (1.0F + expf(-2.0F * u));
}

/// sigmoid(2 u) + x sigmoid'(2 u) 2 u'.
__device__ inline float gelu_tanh_derivative(float x) {
    const float u = gelu_slope * (x + gelu_cube * x * x * x);
    const float small = expf(-2.0F * fabsf(u));  // never overflows
    const float inverse = 1.0F / (1.0F + small);
    const float sigmoid = u < 0 ? small * inverse : inverse;
    const float slope = 2.0F * gelu_slope * (1.0F + 3.0F * gelu_cube * x * x);
    return sigmoid + x * slope * small * inverse * inverse;
}

/// The same by the GPU's own exponential and reciprocal, for results that become bfloat16: with 2^-z = exp(2 u) and
/// s = sigmoid(2 u) = 1 / (1 + 2^z) it is s + x 2 u' s (2^z s). Both instructions are right to 2^-22 of their results,
/// and z, below 127 and rounded twice, moves 2^z by no more than 2^-16 of itself: little beside bfloat16's rounding of
/// 2^-9. No term is the difference of larger ones. From z = 126 on s is denormal and becomes zero.
__device__ inline float gelu_tanh_derivative_approximate(float x) {
    constexpr float slope = 2.0F * gelu_slope, log2_e = 1.44269504088896F;
    const float square = x * x;
    const float z = x * fmaf(square, -log2_e * slope * gelu_cube, -log2_e * slope);
    const float power = exp2_approximate(fminf(z, 127.0F));  // finite, as zero times infinity is not zero
    const float s = reciprocal_approximate(1.0F + power);
    return fmaf(x * fmaf(square, 3.0F * slope * gelu_cube, slope) * s, power * s, s);
}

constexpr float inverse_root_two = 0.707106781186548F;     // 1 / sqrt(2)
constexpr float inverse_root_two_pi = 0.398942280401433F;  // 1 / sqrt(2 pi)

__device__ inline float gelu_erf(float x) { return 0.5F * x * erfcf(-x * inverse_root_two); }

__device__ inline float gelu_erf_derivative(float x) {
    return 0.5F * erfcf(-x * inverse_root_two) + x * inverse_root_two_pi * expf(-0.5F * x * x);
}

}  // namespace protalbert::cuda
