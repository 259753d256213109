// Vectors that leave the device: residues, their means, first rows.

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/kokkos/backend_class.hpp"

namespace protalbert {

namespace {

/// The nearest half, ties to even; beyond 65504 infinity, NaN stays NaN.
std::uint16_t to_half(float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, 4);
    const std::uint32_t sign = (bits >> 16) & 0x8000U;
    const std::uint32_t magnitude = bits & 0x7fffffffU;
    if (magnitude > 0x7f800000U) return static_cast<std::uint16_t>(sign | 0x7e00U);
    if (magnitude >= 0x477ff000U) return static_cast<std::uint16_t>(sign | 0x7c00U);
    if (magnitude < 0x38800000U) {
        // Subnormal: adding 0.5 leaves the rounded multiple of 2^-24 in the low mantissa bits.
        float shifted = 0;
        std::memcpy(&shifted, &magnitude, 4);
        shifted += 0.5F;
        std::uint32_t result = 0;
        std::memcpy(&result, &shifted, 4);
        return static_cast<std::uint16_t>(sign | (result - 0x3f000000U));
    }
    const std::uint32_t odd = (magnitude >> 13) & 1U;
    return static_cast<std::uint16_t>(sign | ((magnitude - 0x38000000U + 0xfffU + odd) >> 13));
}

}  // namespace

void KokkosBackend::extract_residues(void* out, OutputType type, Activations in, PackedSequences sequences,
                                     std::int64_t H, Stream) {
    const float* const x = floats(in);
    std::int64_t to = 0;
    for (std::int64_t s = 0; s < sequences.count; ++s) {
        const std::int64_t first = sequences.host_offsets[s] + 1;
        const std::int64_t rows = std::max<std::int64_t>(0, sequences.host_offsets[s + 1] - 1 - first);
        const std::int64_t begin = to;
        parallel("protalbert::extract_residues", rows, [=](std::int64_t r) {
            const float* from = x + (first + r) * H;
            if (type == OutputType::float32) {
                std::memcpy(static_cast<float*>(out) + (begin + r) * H, from, static_cast<std::size_t>(H) * 4);
            } else {
                for (std::int64_t h = 0; h < H; ++h) {
                    static_cast<std::uint16_t*>(out)[(begin + r) * H + h] = to_half(from[h]);
                }
            }
        });
        to += rows;
    }
}

void KokkosBackend::mean_residues(float* out, Activations in, PackedSequences sequences, std::int64_t H, Stream) {
    const float* const x = floats(in);
    parallel_tasks("protalbert::mean_residues", sequences.count, [=](std::int64_t s) {
        const std::int64_t first = sequences.host_offsets[s] + 1;
        const std::int64_t last = sequences.host_offsets[s + 1] - 1;
        for (std::int64_t h = 0; h < H; ++h) {
            double sum = 0;
            for (std::int64_t t = first; t < last; ++t) sum += x[t * H + h];
            out[s * H + h] = last > first ? static_cast<float>(sum / static_cast<double>(last - first))
                                          : std::numeric_limits<float>::quiet_NaN();
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
