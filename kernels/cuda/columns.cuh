#pragma once
// Sums over the rows of a matrix: how a block shares out its columns and rows, and what it adds up in the end.

#include "kernels/cuda/packs.cuh"

namespace protalbert::cuda {

// Kernels say blockDim.x for column_lanes: with a constant in the address nvcc 13.0 stores a pack as four words.
constexpr int column_lanes = 32;  // neighbouring packs of columns
constexpr int row_groups = 8;     // of rows, added side by side

/// Block (32, 8): in group 0, `sum` becomes the sum over the groups of a lane's sums, in a fixed order. `sums` is the
/// block's, [row_groups * column_lanes * Width].
template <int Width>
__device__ inline void add_row_groups(float (&sum)[Width], Shared<float> sums) {
    const int lane = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int i = 0; i < Width; ++i) {
        sums[(static_cast<int>(threadIdx.y) * Width + i) * column_lanes + lane] = sum[i];
    }
    __syncthreads();
    if (threadIdx.y > 0) return;
    for (int group = 1; group < row_groups; ++group) {
#pragma unroll
        for (int i = 0; i < Width; ++i) sum[i] += sums[(group * Width + i) * column_lanes + lane];
    }
}

/// The grid for N columns in packs of `width` and `parts` of the rows.
inline dim3 column_grid(std::int64_t N, int width, std::int64_t parts) {
    return dim3(static_cast<unsigned>(divide_up(N, column_lanes * width)), static_cast<unsigned>(parts));
}

}  // namespace protalbert::cuda
