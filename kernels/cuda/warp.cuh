#pragma once
// Sums and maxima over the threads of a warp or a block, in an order that never changes.

namespace protalbert::cuda {

constexpr int warp_threads = 32;
constexpr unsigned all_lanes = 0xffffffffU;

/// Over the warp's 32 lanes; every lane gets it.
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
    for (int lanes = warp_threads / 2; lanes > 0; lanes /= 2) value += __shfl_xor_sync(all_lanes, value, lanes);
    return value;
}
/// A NaN among other numbers is passed over, as by fmaxf.
__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
    for (int lanes = warp_threads / 2; lanes > 0; lanes /= 2) {
        value = fmaxf(value, __shfl_xor_sync(all_lanes, value, lanes));
    }
    return value;
}

/// Over a block of one dimension; every thread gets it. `scratch` [32]; free again when the function returns.
template <class T>
__device__ __forceinline__ T block_sum(T value, Shared<T> scratch) {
    const int warp = static_cast<int>(threadIdx.x) / warp_threads;
    const int lane = static_cast<int>(threadIdx.x) % warp_threads;
    value = warp_sum(value);
    if (lane == 0) scratch[warp] = value;
    __syncthreads();
    value = lane < static_cast<int>(blockDim.x) / warp_threads ? static_cast<T>(scratch[lane]) : T{};
    value = warp_sum(value);
    __syncthreads();
    return value;
}

}  // namespace protalbert::cuda
