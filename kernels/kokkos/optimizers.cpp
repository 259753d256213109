// LAMB, AdamW and the gradient's norm.

#include <algorithm>
#include <cmath>

#include "kernels/kokkos/backend_class.hpp"

namespace protalbert {

void KokkosBackend::sum_of_squares(double* out, const float* x, std::int64_t n, Stream) {
    constexpr std::int64_t chunk = 65536;
    const std::int64_t chunks = (n + chunk - 1) / chunk;
    double* const partial = scratch<double>(chunks);
    parallel("protalbert::sum_of_squares", chunks, [=](std::int64_t c) {
        double sum = 0;
        for (std::int64_t i = c * chunk; i < std::min(n, (c + 1) * chunk); ++i) sum += static_cast<double>(x[i]) * x[i];
        partial[c] = sum;
    });
    double sum = 0;
    for (std::int64_t c = 0; c < chunks; ++c) sum += partial[c];
    *out = sum;
}

namespace {

/// min(1, clip / norm); 1 without clipping; negative when the norm is not finite and the step must be left out.
double clip_factor(const OptimizerStep& step) {
    if (step.squared_norm == nullptr) return 1;
    if (!std::isfinite(*step.squared_norm)) return -1;
    if (step.clip <= 0) return 1;
    const double norm = std::sqrt(*step.squared_norm);
    return norm > step.clip ? step.clip / norm : 1;
}

void update(float* w, float* m, float* v, float* g, const Variable& variable, const OptimizerStep& step, double clip,
            bool trust) {
    double w2 = 0;
    double u2 = 0;
    for (std::int64_t i = variable.offset; i < variable.offset + variable.size; ++i) {
        const double gradient = g[i] * clip;
        m[i] = static_cast<float>(step.beta1 * m[i] + (1 - step.beta1) * gradient);
        v[i] = static_cast<float>(step.beta2 * v[i] + (1 - step.beta2) * gradient * gradient);
        double u = m[i] / (std::sqrt(static_cast<double>(v[i])) + step.epsilon);
        if (variable.regularised) u += step.weight_decay * w[i];
        g[i] = static_cast<float>(u);
        w2 += static_cast<double>(w[i]) * w[i];
        u2 += u * u;
    }
    const double ratio = trust && variable.regularised && w2 > 0 && u2 > 0 ? std::sqrt(w2) / std::sqrt(u2) : 1;
    for (std::int64_t i = variable.offset; i < variable.offset + variable.size; ++i) {
        w[i] -= static_cast<float>(step.learning_rate * ratio * g[i]);
    }
}

}  // namespace

void KokkosBackend::lamb(float* parameters, void*, float* m, float* v, float* gradients,
                         const std::vector<Variable>& variables, const OptimizerStep& step, Stream) {
    const double clip = clip_factor(step);
    if (clip < 0) return;
    for (const Variable& variable : variables) update(parameters, m, v, gradients, variable, step, clip, true);
}

void KokkosBackend::adamw(float* parameters, void*, float* m, float* v, float* gradients,
                          const std::vector<Variable>& variables, const OptimizerStep& step, Stream) {
    const double clip = clip_factor(step);
    if (clip < 0) return;
    for (const Variable& variable : variables) update(parameters, m, v, gradients, variable, step, clip, false);
}

}  // namespace protalbert
