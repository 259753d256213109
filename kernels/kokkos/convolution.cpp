// Heads of predictions: window sums of convolutions, ReLU with dropout.

#include <algorithm>
#include <cmath>

#include "base/random.hpp"
#include "kernels/kokkos/backend_class.hpp"
#include "kernels/kokkos/instruction_sets.hpp"

namespace protalbert {

/// What relu_dropout_row needs of a dropout.
struct DropoutWords {
    std::array<std::uint32_t, 2> key;
    std::uint32_t step;
    std::uint64_t below;  ///< random words below it are dropped; 0: none are
    float scale;          ///< of what is kept, 1 / (1 - p)
};

}  // namespace protalbert

#define PROTALBERT_KERNELS "kernels/kokkos/convolution_kernels.hpp"
#include "kernels/kokkos/for_each_instruction_set.hpp"

namespace protalbert {

namespace {

/// Rows of one task: tens of kilobytes for 7 taps of 32 channels, so that finding the sequence is nothing.
constexpr std::int64_t window_rows = 64;

/// body(t, first, last) for the rows [begin, end) of a packed batch, each with the range of its sequence.
template <class Body>
void for_rows(const PackedSequences& sequences, std::int64_t begin, std::int64_t end, const Body& body) {
    const std::int64_t* const offsets = sequences.host_offsets;
    std::int64_t s = std::upper_bound(offsets, offsets + sequences.count + 1, begin) - offsets - 1;
    for (std::int64_t t = begin; t < end; ++t) {
        while (t >= offsets[s + 1]) ++s;
        body(t, offsets[s], offsets[s + 1]);
    }
}

}  // namespace

void KokkosBackend::window_sum(Activations out, Activations taps, const float* bias, PackedSequences sequences,
                               std::int64_t W, std::int64_t C, Stream) {
    float* const y = floats(out);
    const float* const x = floats(taps);
    const std::int64_t T = sequences.tokens;
    const auto run = PROTALBERT_SELECT(window_sum_row);
    parallel("protalbert::window_sum", (T + window_rows - 1) / window_rows, [=](std::int64_t task) {
        for_rows(sequences, task * window_rows, std::min(T, (task + 1) * window_rows),
                 [&](std::int64_t t, std::int64_t first, std::int64_t last) {
                     run(y + t * C, x, bias, t, first, last, W, C);
                 });
    });
}

void KokkosBackend::window_sum_backward(Activations dtaps, Activations dout, PackedSequences sequences, std::int64_t W,
                                        std::int64_t C, Stream) {
    float* const dx = floats(dtaps);
    const float* const dy = floats(dout);
    const std::int64_t T = sequences.tokens;
    parallel("protalbert::window_sum_backward", (T + window_rows - 1) / window_rows, [=](std::int64_t task) {
        for_rows(sequences, task * window_rows, std::min(T, (task + 1) * window_rows),
                 [&](std::int64_t t, std::int64_t first, std::int64_t last) {
                     for (std::int64_t w = 0; w < W; ++w) {
                         float* const to = dx + (t * W + w) * C;
                         const std::int64_t from = t - w + W / 2;
                         if (first <= from && from < last) {
                             std::copy_n(dy + from * C, C, to);
                         } else {
                             std::fill_n(to, C, 0.0F);
                         }
                     }
                 });
    });
}

void KokkosBackend::relu_dropout(Activations out, Activations pre, const std::int64_t* rows, const Dropout& dropout,
                                 std::int64_t T, std::int64_t N, Stream) {
    float* const y = floats(out);
    const float* const x = floats(pre);
    const DropoutWords words{{static_cast<std::uint32_t>(dropout.seed), static_cast<std::uint32_t>(dropout.seed >> 32)},
                             dropout.step,
                             static_cast<std::uint64_t>(std::ldexp(dropout.probability, 32)),
                             static_cast<float>(1 / (1 - dropout.probability))};
    const auto run = PROTALBERT_SELECT(relu_dropout_row);
    parallel("protalbert::relu_dropout", T,
             [=](std::int64_t t) { run(y + t * N, x + t * N, static_cast<std::uint64_t>(rows[t]), words, N); });
}

void KokkosBackend::relu_dropout_backward(Activations dpre, Activations dout, Activations out, double probability,
                                          std::int64_t n, Stream) {
    float* const dx = floats(dpre);
    const float* const dy = floats(dout);
    const float* const y = floats(out);
    const auto scale = static_cast<float>(1 / (1 - probability));
    const auto run = PROTALBERT_SELECT(scaled_where_not_zero);
    parallel_elements("protalbert::relu_dropout_backward", n, [=](std::int64_t first, std::int64_t count) {
        run(dx + first, dy + first, y + first, scale, count);
    });
}

}  // namespace protalbert
