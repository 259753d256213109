// Heads of predictions: window sums of convolutions, ReLU with dropout. Small beside the product that feeds them: one
// element a thread, neighbours in memory in neighbouring threads.

#include <array>
#include <cmath>

#include "base/random.hpp"
#include "kernels/cuda/backend_class.hpp"
#include "kernels/cuda/packs.cuh"
#include "kernels/cuda/sequences.cuh"
#include "kernels/cuda/with_element.hpp"

namespace protalbert::cuda {

namespace {

constexpr int threads = 256;

unsigned blocks_of(std::int64_t n) { return static_cast<unsigned>(divide_up(n, threads)); }

__device__ std::int64_t element_number() { return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

/// out [T, C] = bias [C] + sums over the taps [T, W, C] of the row's sequence, in the order of w.
template <class Element>
__global__ void window_sum_kernel(Element* out, const Element* taps, const float* bias, const std::int64_t* offsets,
                                  std::int64_t S, std::int64_t T, std::int64_t W, std::int64_t C) {
    const std::int64_t i = element_number();
    if (i >= T * C) return;
    const std::int64_t t = i / C, c = i % C;
    const std::int64_t s = sequence_of(offsets, S, t);
    float sum = bias[c];
    for (std::int64_t w = 0; w < W; ++w) {
        const std::int64_t from = t + w - W / 2;
        if (offsets[s] <= from && from < offsets[s + 1]) sum += to_float(taps[(from * W + w) * C + c]);
    }
    out[i] = from_float<Element>(sum);
}

/// dtaps [T, W, C]: each the element of dout [T, C] that it went into, 0 where that is beyond the sequence.
template <class Element>
__global__ void window_sum_backward_kernel(Element* dtaps, const Element* dout, const std::int64_t* offsets,
                                           std::int64_t S, std::int64_t T, std::int64_t W, std::int64_t C) {
    const std::int64_t i = element_number();
    if (i >= T * W * C) return;
    const std::int64_t c = i % C, w = i / C % W, t = i / (C * W);
    const std::int64_t s = sequence_of(offsets, S, t);
    const std::int64_t from = t - w + W / 2;
    dtaps[i] = offsets[s] <= from && from < offsets[s + 1] ? dout[from * C + c] : from_float<Element>(0);
}

/// out [T, N]: four elements a thread, the words of one Philox call. Words below `below` drop theirs; 0: none do.
template <class Element>
__global__ void relu_dropout_kernel(Element* out, const Element* pre, const std::int64_t* rows, std::uint64_t seed,
                                    std::uint32_t step, std::uint64_t below, float scale, std::int64_t T,
                                    std::int64_t N) {
    const std::int64_t fours = (N + 3) / 4;
    const std::int64_t i = element_number();
    if (i >= T * fours) return;
    const std::int64_t t = i / fours, n = i % fours * 4;
    const auto row = static_cast<std::uint64_t>(rows[t]);
    std::array<std::uint32_t, 4> words{};
    if (below > 0)
        words = philox({static_cast<std::uint32_t>(n / 4), static_cast<std::uint32_t>(row),
                        static_cast<std::uint32_t>(row >> 32), step},
                       {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
    for (int k = 0; k < 4 && n + k < N; ++k) {
        const float x = to_float(pre[t * N + n + k]);
        const bool zero = x <= 0 || words[static_cast<std::size_t>(k)] < below;
        out[t * N + n + k] = from_float<Element>(zero ? 0 : x * scale);
    }
}

template <class Element>
__global__ void relu_dropout_backward_kernel(Element* dpre, const Element* dout, const Element* out, float scale,
                                             std::int64_t n) {
    const std::int64_t i = element_number();
    if (i >= n) return;
    dpre[i] = from_float<Element>(to_float(out[i]) != 0 ? to_float(dout[i]) * scale : 0);
}

}  // namespace

void CudaBackend::window_sum(Activations out, Activations taps, const float* bias, PackedSequences sequences,
                             std::int64_t W, std::int64_t C, Stream stream) {
    const std::int64_t T = sequences.tokens;
    if (T == 0) return;
    with_element([&](auto element) {
        using Element = decltype(element);
        launch("window_sum", window_sum_kernel<Element>, dim3(blocks_of(T * C)), dim3(threads), 0, handle(stream),
               elements<Element>(out), static_cast<const Element*>(elements<Element>(taps)), bias, sequences.offsets,
               sequences.count, T, W, C);
    });
}

void CudaBackend::window_sum_backward(Activations dtaps, Activations dout, PackedSequences sequences, std::int64_t W,
                                      std::int64_t C, Stream stream) {
    const std::int64_t T = sequences.tokens;
    if (T == 0) return;
    with_element([&](auto element) {
        using Element = decltype(element);
        launch("window_sum_backward", window_sum_backward_kernel<Element>, dim3(blocks_of(T * W * C)), dim3(threads), 0,
               handle(stream), elements<Element>(dtaps), static_cast<const Element*>(elements<Element>(dout)),
               sequences.offsets, sequences.count, T, W, C);
    });
}

void CudaBackend::relu_dropout(Activations out, Activations pre, const std::int64_t* rows, const Dropout& dropout,
                               std::int64_t T, std::int64_t N, Stream stream) {
    if (T * N == 0) return;
    const auto below = static_cast<std::uint64_t>(std::ldexp(dropout.probability, 32));
    const auto scale = static_cast<float>(1 / (1 - dropout.probability));
    with_element([&](auto element) {
        using Element = decltype(element);
        launch("relu_dropout", relu_dropout_kernel<Element>, dim3(blocks_of(T * divide_up(N, 4))), dim3(threads), 0,
               handle(stream), elements<Element>(out), static_cast<const Element*>(elements<Element>(pre)), rows,
               dropout.seed, dropout.step, below, scale, T, N);
    });
}

void CudaBackend::relu_dropout_backward(Activations dpre, Activations dout, Activations out, double probability,
                                        std::int64_t n, Stream stream) {
    if (n == 0) return;
    const auto scale = static_cast<float>(1 / (1 - probability));
    with_element([&](auto element) {
        using Element = decltype(element);
        launch("relu_dropout_backward", relu_dropout_backward_kernel<Element>, dim3(blocks_of(n)), dim3(threads), 0,
               handle(stream), elements<Element>(dpre), static_cast<const Element*>(elements<Element>(dout)),
               static_cast<const Element*>(elements<Element>(out)), scale, n);
    });
}

}  // namespace protalbert::cuda
