#pragma once
// Work on rows of N features: which threads share a row, and their sums.

#include <algorithm>
#include <initializer_list>

#include "kernels/cuda/packs.cuh"

namespace protalbert::cuda {

/// The threads of a row: a warp for a short one, with several rows a block, else a whole block.
struct RowThreads {
    unsigned threads;  ///< of a row, a multiple of 32
    unsigned rows;     ///< of a block
    bool warp() const { return threads == 32; }
    dim3 block() const { return dim3(threads, rows); }
};

/// Of a block at the most: then a thread may use 128 registers. A kernel that comes close to them says so to the
/// compiler (__launch_bounds__): with more, a block would not start.
constexpr int most_row_threads = 512;

/// For rows of N elements in packs of `width`; at most most_threads, a multiple of 32.
inline RowThreads row_threads(std::int64_t N, int width, int most_threads = most_row_threads) {
    const std::int64_t warps = divide_up(divide_up(N, width), 32);
    if (warps <= 1) return {32, 4};
    return {static_cast<unsigned>(32 * std::min<std::int64_t>(warps, most_threads / 32)), 1};
}

/// Sums over the threads of a row, the same in all of them, in a fixed order. `sums` is the block's, [2 * 32].
template <bool Warp>
__device__ inline float2 row_sums(float a, float b, Shared<float> sums) {
    a = warp_sum(a);
    b = warp_sum(b);
    if constexpr (Warp) return make_float2(a, b);
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
    __syncthreads();  // everybody has read the sums before
    if (lane == 0) {
        sums[warp] = a;
        sums[32 + warp] = b;
    }
    __syncthreads();
    a = warp_sum(lane < warps ? static_cast<float>(sums[lane]) : 0.0F);
    b = warp_sum(lane < warps ? static_cast<float>(sums[32 + lane]) : 0.0F);
    return make_float2(a, b);
}

/// Each of `sums` [n], three at the most, (+)= its sums over p of partials [count, sums, n], in a fixed order; a null
/// one is left out.
void add_partials(std::initializer_list<float*> sums, std::int64_t n, const float* partials, std::int64_t count,
                  bool accumulate, cudaStream_t stream);

}  // namespace protalbert::cuda
