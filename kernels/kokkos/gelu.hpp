#pragma once
// GELU in double precision.

#include <cmath>

#include "kernels/backend.hpp"

namespace protalbert {

constexpr double sqrt_half = 0.70710678118654752440;
constexpr double sqrt_2_over_pi = 0.79788456080286535588;
constexpr double inverse_sqrt_2pi = 0.39894228040143267794;
constexpr double gelu_cubic = 0.044715;

inline double gelu(Gelu form, double x) {
    if (form == Gelu::erf) return 0.5 * x * (1 + std::erf(x * sqrt_half));
    return 0.5 * x * (1 + std::tanh(sqrt_2_over_pi * (x + gelu_cubic * x * x * x)));
}

inline double gelu_derivative(Gelu form, double x) {
    if (form == Gelu::erf) {
        return 0.5 * (1 + std::erf(x * sqrt_half)) + x * inverse_sqrt_2pi * std::exp(-0.5 * x * x);
    }
    const double t = std::tanh(sqrt_2_over_pi * (x + gelu_cubic * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * sqrt_2_over_pi * (1 + 3 * gelu_cubic * x * x);
}

}  // namespace protalbert
