// Rows and elements: gather, scatter, activations.

#include <algorithm>
#include <cstring>

#include "kernels/kokkos/backend_class.hpp"
#include "kernels/kokkos/instruction_sets.hpp"

#define PROTALBERT_KERNELS "kernels/kokkos/elementwise_kernels.hpp"
#include "kernels/kokkos/for_each_instruction_set.hpp"

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
    const auto add = PROTALBERT_SELECT(add_elements);
    parallel("protalbert::scatter_add_rows", M, [=](std::int64_t m) { add(to + rows[m] * N, from + m * N, N); });
}

void KokkosBackend::gelu_backward(Activations dpre, Activations dout, Activations pre, Gelu form, std::int64_t n,
                                  Stream) {
    float* const dx = floats(dpre);
    const float* const dy = floats(dout);
    const float* const x = floats(pre);
    const auto run = form == Gelu::erf ? PROTALBERT_SELECT(times_gelu_erf_derivative)
                                       : PROTALBERT_SELECT(times_gelu_tanh_derivative);
    parallel_elements("protalbert::gelu_backward", n, [=](std::int64_t first, std::int64_t count) {
        run(dx + first, 0, nullptr, dy + first, 0, x + first, 0, 1, count);
    });
}

void KokkosBackend::tanh_forward(Activations out, Activations in, std::int64_t n, Stream) {
    float* const y = floats(out);
    const float* const x = floats(in);
    const auto run = PROTALBERT_SELECT(tanh_of_elements);
    parallel_elements("protalbert::tanh_forward", n,
                      [=](std::int64_t first, std::int64_t count) { run(y + first, x + first, count); });
}

void KokkosBackend::tanh_backward(Activations din, Activations dout, Activations out, std::int64_t n, Stream) {
    float* const dx = floats(din);
    const float* const dy = floats(dout);
    const float* const y = floats(out);
    const auto run = PROTALBERT_SELECT(tanh_backward_of_elements);
    parallel_elements("protalbert::tanh_backward", n,
                      [=](std::int64_t first, std::int64_t count) { run(dx + first, dy + first, y + first, count); });
}

}  // namespace protalbert
