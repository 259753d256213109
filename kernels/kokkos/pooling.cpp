// Vectors that leave the device: residues, their means, first rows.

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/kokkos/backend_class.hpp"
#include "kernels/kokkos/instruction_sets.hpp"

namespace protalbert {

/// Columns of one task of a mean: their sums in float64 and the rows' pieces stay in the first-level cache.
constexpr std::int64_t mean_strip = 256;

}  // namespace protalbert

#define PROTALBERT_KERNELS "kernels/kokkos/pooling_kernels.hpp"
#include "kernels/kokkos/for_each_instruction_set.hpp"

namespace protalbert {

void KokkosBackend::extract_residues(void* out, OutputType type, Activations in, PackedSequences sequences,
                                     std::int64_t H, Stream) {
    const float* const x = floats(in);
    // firsts [S + 1]: the row of `out` that each sequence's residues begin at.
    auto* const firsts = scratch<std::int64_t>(sequences.count + 1);
    firsts[0] = 0;
    for (std::int64_t s = 0; s < sequences.count; ++s) {
        const std::int64_t length = sequences.host_offsets[s + 1] - sequences.host_offsets[s];
        firsts[s + 1] = firsts[s] + std::max<std::int64_t>(0, length - 2);
    }
    const std::int64_t rows = firsts[sequences.count];
    const auto convert = PROTALBERT_SELECT(to_halves);
    constexpr std::int64_t block = 16;  // rows of one task: tens of kilobytes, so that finding the sequence is nothing
    parallel("protalbert::extract_residues", (rows + block - 1) / block, [=](std::int64_t task) {
        const std::int64_t last = std::min(rows, (task + 1) * block);
        std::int64_t s = std::upper_bound(firsts, firsts + sequences.count + 1, task * block) - firsts - 1;
        for (std::int64_t row = task * block; row < last; ++row) {
            while (row >= firsts[s + 1]) ++s;
            const float* const from = x + (sequences.host_offsets[s] + 1 + row - firsts[s]) * H;
            if (type == OutputType::float32) {
                std::memcpy(static_cast<float*>(out) + row * H, from, static_cast<std::size_t>(H) * sizeof(float));
            } else {
                convert(static_cast<std::uint16_t*>(out) + row * H, from, H);
            }
        }
    });
}

void KokkosBackend::mean_residues(float* out, Activations in, PackedSequences sequences, std::int64_t H, Stream) {
    const float* const x = floats(in);
    const std::int64_t strips = (H + mean_strip - 1) / mean_strip;
    const auto sum = PROTALBERT_SELECT(scaled_column_sums);
    parallel_tasks("protalbert::mean_residues", sequences.count * strips, [=](std::int64_t task) {
        const std::int64_t s = task / strips;
        const std::int64_t h = task % strips * mean_strip;
        const std::int64_t columns = std::min(mean_strip, H - h);
        const std::int64_t first = sequences.host_offsets[s] + 1;
        const std::int64_t rows = sequences.host_offsets[s + 1] - 1 - first;
        if (rows > 0) {
            sum(out + s * H + h, x + first * H + h, H, rows, columns, 1 / static_cast<double>(rows));
        } else {
            std::fill_n(out + s * H + h, columns, std::numeric_limits<float>::quiet_NaN());
        }
    });
}

void KokkosBackend::first_rows(float* out, Activations in, PackedSequences sequences, std::int64_t H, Stream) {
    const float* const x = floats(in);
    parallel("protalbert::first_rows", sequences.count, [=](std::int64_t s) {
        const std::int64_t first = sequences.host_offsets[s];
        if (first == sequences.host_offsets[s + 1]) {
            std::fill_n(out + s * H, H, std::numeric_limits<float>::quiet_NaN());
        } else {
            std::memcpy(out + s * H, x + first * H, static_cast<std::size_t>(H) * sizeof(float));
        }
    });
}

}  // namespace protalbert
