#pragma once
// Which sequence a row of a packed array belongs to.

#include "kernels/cuda/device.cuh"

namespace protalbert::cuda {

/// The s with offsets [s] <= row < offsets [s + 1], for ascending offsets [S + 1] around the row.
__device__ inline std::int64_t sequence_of(const std::int64_t* offsets, std::int64_t S, std::int64_t row) {
    std::int64_t low = 0, high = S;
    while (high - low > 1) {
        const std::int64_t middle = (low + high) / 2;
        (offsets[middle] <= row ? low : high) = middle;
    }
    return low;
}

}  // namespace protalbert::cuda
