#pragma once
// Weights in the shape that products read, made once and kept until the weights change.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/kokkos/growing_memory.hpp"
#include "kernels/kokkos/panels.hpp"

namespace protalbert {

/// The packed form of one weight.
struct PackedWeight {
    const float* weight = nullptr;  ///< [rows, columns]
    std::int64_t rows = 0, columns = 0;
    bool sums_along_rows = false;  ///< as Operand's
    bool current = false;          ///< whether it holds the weight's present values
    GrowingMemory panels;
};

/// Packed weights live for parameter arrays that were announced; any other array may be memory that changes hands.
struct PackedWeights {
    struct Array {
        const float* begin;
        const float* end;
    };
    std::vector<Array> arrays;
    std::vector<std::unique_ptr<PackedWeight>> weights;
};

/// From now on weights in [begin, begin + n) are kept in packed form, and what was packed of them is outdated.
void announce(PackedWeights& packed, const float* begin, std::int64_t n);
/// What is packed of memory that has changed is packed again before its next use.
void outdate(PackedWeights& packed, const void* begin, std::size_t bytes);
/// Memory that may be another array's by now: nothing of it is kept.
void forget(PackedWeights& packed, const void* begin, std::size_t bytes);
/// The place of a weight's packed form, with `current` false where it is to be filled; null for a weight that is in no
/// announced array.
PackedWeight* find(PackedWeights& packed, const Operand& weight, std::int64_t rows, std::int64_t columns);

}  // namespace protalbert
