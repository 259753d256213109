// The second stage of sums over rows: partial sums of blocks, added in a fixed order.

#include "kernels/cuda/rows.cuh"

namespace protalbert::cuda {

namespace {

constexpr int lanes = 32;  // neighbouring columns: one access of 128 bytes a warp
constexpr int groups = 8;  // of partial sums, added side by side

/// Block (32, 8), grid (n / 32, arrays of sums).
__global__ void add_partials_kernel(float* first, float* second, float* third, std::int64_t n, const float* partials,
                                    std::int64_t count, bool accumulate) {
    SHARED_ARRAY(float, sums, lanes* groups);
    float* const to = blockIdx.y == 0 ? first : blockIdx.y == 1 ? second : third;
    if (to == nullptr) return;
    const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * lanes + threadIdx.x;
    const std::int64_t stride = gridDim.y * n;
    const float* const own = partials + blockIdx.y * n + column;
    float sum = 0;
    if (column < n) {
        for (std::int64_t p = threadIdx.y; p < count; p += groups) sum += own[p * stride];
    }
    sums[threadIdx.y * lanes + threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || column >= n) return;
    for (int group = 1; group < groups; ++group) sum += sums[group * lanes + threadIdx.x];
    to[column] = accumulate ? to[column] + sum : sum;
}

}  // namespace

void add_partials(std::initializer_list<float*> sums, std::int64_t n, const float* partials, std::int64_t count,
                  bool accumulate, cudaStream_t stream) {
    const auto at = [&](std::size_t i) { return i < sums.size() ? sums.begin()[i] : nullptr; };
    const dim3 grid(static_cast<unsigned>(divide_up(n, lanes)), static_cast<unsigned>(sums.size()));
    launch("add_partials", add_partials_kernel, grid, dim3(lanes, groups), 0, stream, at(0), at(1), at(2), n, partials,
           count, accumulate);
}

}  // namespace protalbert::cuda
