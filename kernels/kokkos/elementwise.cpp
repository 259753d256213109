// Rows and elements: gather, scatter, activations.

#include <cmath>
#include <cstring>

#include "kernels/kokkos/backend_class.hpp"
#include "kernels/kokkos/gelu.hpp"

namespace protalbert {

void KokkosBackend::gather_rows(Activations out, Activations in, const std::int64_t* rows, std::int64_t M,
                                std::int64_t N, Stream) {
    float* const to = floats(out);
    const float* const from = floats(in);
    parallel("protalbert::gather_rows", M, [=](std::int64_t m) {
        std::memcpy(to + m * N, from + rows[m] * N, static_cast<std::size_t>(N) * sizeof(float));
    });
}

void KokkosBackend::scatter_add_rows(Activations out, Activations in, const std::int64_t* rows, std::int64_t M,
                                     std::int64_t N, Stream) {
    float* const to = floats(out);
    const float* const from = floats(in);
    parallel("protalbert::scatter_add_rows", M, [=](std::int64_t m) {
        for (std::int64_t n = 0; n < N; ++n) to[rows[m] * N + n] += from[m * N + n];
    });
}

void KokkosBackend::gelu_backward(Activations dpre, Activations dout, Activations pre, Gelu form, std::int64_t n,
                                  Stream) {
    float* const dx = floats(dpre);
    const float* const dy = floats(dout);
    const float* const x = floats(pre);
    parallel("protalbert::gelu_backward", n,
             [=](std::int64_t i) { dx[i] = static_cast<float>(dy[i] * gelu_derivative(form, x[i])); });
}

void KokkosBackend::tanh_forward(Activations out, Activations in, std::int64_t n, Stream) {
    float* const y = floats(out);
    const float* const x = floats(in);
    parallel("protalbert::tanh_forward", n, [=](std::int64_t i) { y[i] = std::tanh(x[i]); });
}

void KokkosBackend::tanh_backward(Activations din, Activations dout, Activations out, std::int64_t n, Stream) {
    float* const dx = floats(din);
    const float* const dy = floats(dout);
    const float* const y = floats(out);
    parallel("protalbert::tanh_backward", n, [=](std::int64_t i) { dx[i] = dy[i] * (1 - y[i] * y[i]); });
}

}  // namespace protalbert
