// The second stage of sums over rows: partial sums of blocks, added in a fixed order.

#include "kernels/cuda/rows.cuh"

namespace protalbert::cuda {

namespace {

constexpr int lanes = 32;  // neighbouring columns: one access of 128 bytes a warp
constexpr int groups = 8;  // of partial sums, added side by side

/// Block (32, 8), grid (columns / 32).
__global__ void add_partials_kernel(float* first, std::int64_t n_first, float* second, std::int64_t n,
                                    const float* partials, std::int64_t count, bool accumulate) {
    SHARED_ARRAY(float, sums, lanes* groups);
    const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * lanes + threadIdx.x;
    float sum = 0;
    if (column < n) {
        for (std::int64_t p = threadIdx.y; p < count; p += groups) sum += partials[p * n + column];
    }
    sums[threadIdx.y * lanes + threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || column >= n) return;
    for (int group = 1; group < groups; ++group) sum += sums[group * lanes + threadIdx.x];
    float* const to = column < n_first ? first + column : second + (column - n_first);
    *to = accumulate ? *to + sum : sum;
}

}  // namespace

void add_partials(float* first, std::int64_t n_first, float* second, std::int64_t n_second, const float* partials,
                  std::int64_t count, bool accumulate, cudaStream_t stream) {
    const std::int64_t n = n_first + n_second;
    if (n == 0) return;
    launch("add_partials", add_partials_kernel, dim3(static_cast<unsigned>(divide_up(n, lanes))), dim3(lanes, groups),
           0, stream, first, n_first, second, n, partials, count, accumulate);
}

}  // namespace protalbert::cuda
