// Sums that no order changes.

#include <algorithm>
#include <cmath>

#include "kernels/kokkos/backend_class.hpp"
#include "kernels/kokkos/instruction_sets.hpp"

namespace protalbert {

/// What is not below it does not fit into an int64 with others.
constexpr double fixed_point_limit = 0x1p62;

}  // namespace protalbert

#define PROTALBERT_KERNELS "kernels/kokkos/fixed_point_kernels.hpp"
#include "kernels/kokkos/for_each_instruction_set.hpp"

namespace protalbert {

void KokkosBackend::add_fixed_point(std::int64_t* sums, float* largest, float* values, int bits, std::int64_t n,
                                    Stream) {
    constexpr std::int64_t piece = 8192;  // its 96 KiB pass through the second-level cache once
    const std::int64_t pieces = (n + piece - 1) / piece;
    float* const partials = scratch<float>(pieces);
    const double scale = std::ldexp(1.0, bits);
    const auto run = PROTALBERT_SELECT(add_fixed_point_piece);
    parallel("protalbert::add_fixed_point", pieces, [=](std::int64_t p) {
        partials[p] = run(sums + p * piece, values + p * piece, scale, std::min(piece, n - p * piece));
    });
    for (std::int64_t p = 0; p < pieces; ++p) *largest = std::max(*largest, partials[p]);
}

void KokkosBackend::from_fixed_point(float* values, const std::int64_t* sums, int bits, std::int64_t n, Stream) {
    const double inverse_scale = std::ldexp(1.0, -bits);
    const auto run = PROTALBERT_SELECT(from_fixed_point_piece);
    parallel_elements("protalbert::from_fixed_point", n, [=](std::int64_t first, std::int64_t count) {
        run(values + first, sums + first, inverse_scale, count);
    });
}

}  // namespace protalbert
