// Layer norm, forward with a residual and backward.

#include <cmath>

#include "kernels/kokkos/backend_class.hpp"

namespace protalbert {

void KokkosBackend::residual_layer_norm(Activations out, float* mean, float* rstd, Activations branch,
                                        Activations residual, const float* gamma, const float* beta, double epsilon,
                                        std::int64_t T, std::int64_t N, Stream) {
    float* const y = floats(out);
    float* const b = floats(branch);
    const float* const r = floats(residual);
    parallel("protalbert::residual_layer_norm", T, [=](std::int64_t t) {
        double sum = 0;
        for (std::int64_t n = 0; n < N; ++n) {
            const float s = b[t * N + n] + (r != nullptr ? r[t * N + n] : 0.0F);
            if (mean != nullptr) {
                b[t * N + n] = s;
            } else {
                y[t * N + n] = s;
            }
            sum += s;
        }
        const float* s = mean != nullptr ? b + t * N : y + t * N;
        const double average = sum / static_cast<double>(N);
        double squares = 0;
        for (std::int64_t n = 0; n < N; ++n) squares += (s[n] - average) * (s[n] - average);
        const double inverse = 1 / std::sqrt(squares / static_cast<double>(N) + epsilon);
        for (std::int64_t n = 0; n < N; ++n) {
            y[t * N + n] = static_cast<float>((s[n] - average) * inverse) * gamma[n] + beta[n];
        }
        if (mean != nullptr) {
            mean[t] = static_cast<float>(average);
            rstd[t] = static_cast<float>(inverse);
        }
    });
}

void KokkosBackend::layer_norm_backward(Activations ds, float* dgamma, float* dbeta, Activations dout, Activations s,
                                        const float* mean, const float* rstd, const float* gamma, std::int64_t T,
                                        std::int64_t N, Stream) {
    float* const dx = floats(ds);
    const float* const dy = floats(dout);
    const float* const x = floats(s);
    parallel("protalbert::layer_norm_backward_parameters", N, [=](std::int64_t n) {
        double scale = dgamma[n];
        double shift = dbeta[n];
        for (std::int64_t t = 0; t < T; ++t) {
            scale += static_cast<double>(dy[t * N + n]) * ((x[t * N + n] - mean[t]) * rstd[t]);
            shift += dy[t * N + n];
        }
        dgamma[n] = static_cast<float>(scale);
        dbeta[n] = static_cast<float>(shift);
    });
    parallel("protalbert::layer_norm_backward", T, [=](std::int64_t t) {
        double sum = 0;
        double product = 0;
        for (std::int64_t n = 0; n < N; ++n) {
            const double g = static_cast<double>(dy[t * N + n]) * gamma[n];
            sum += g;
            product += g * ((x[t * N + n] - mean[t]) * rstd[t]);
        }
        for (std::int64_t n = 0; n < N; ++n) {
            const double g = static_cast<double>(dy[t * N + n]) * gamma[n];
            const double normal = (x[t * N + n] - mean[t]) * rstd[t];
            dx[t * N + n] =
                static_cast<float>((g - sum / static_cast<double>(N) - normal * product / static_cast<double>(N)) *
                                   static_cast<double>(rstd[t]));
        }
    });
}

}  // namespace protalbert
