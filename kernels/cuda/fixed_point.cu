// Sums that no order changes.

#include <algorithm>
#include <cmath>

#include "kernels/cuda/backend_class.hpp"
#include "kernels/cuda/packs.cuh"

namespace protalbert::cuda {

namespace {

constexpr int threads = 256;
constexpr std::int64_t most_blocks = 2112;  // as for elementwise operations

/// What is not below it does not fit into an int64 with others.
constexpr double fixed_point_limit = 0x1p62;

/// The same arithmetic as kernels/kokkos/fixed_point_kernels.hpp, hence the same bits. Grid of any size.
__global__ void add_fixed_point_kernel(std::int64_t* sums, float* largest, float* values, double scale,
                                       std::int64_t n) {
    SHARED_ARRAY(float, tops, threads / 32);
    float top = 0;
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
        const float value = values[i];
        const float magnitude = value == value ? fabsf(value) : INFINITY;
        top = magnitude > top ? magnitude : top;
        const double scaled = static_cast<double>(value) * scale;
        const double inside = fabs(scaled) < fixed_point_limit ? scaled : 0.0;
        const auto number = static_cast<long long>(inside + (inside < 0 ? -0.5 : 0.5));
        // Unsigned: sums that are too large wrap without harm, the caller learns of them by the largest value.
        sums[i] = static_cast<std::int64_t>(static_cast<unsigned long long>(sums[i]) +
                                            static_cast<unsigned long long>(number));
        values[i] = 0;
    }
    top = warp_max(top);
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    if (lane == 0) tops[warp] = top;
    __syncthreads();
    if (warp > 0) return;
    top = warp_max(lane < threads / 32 ? static_cast<float>(tops[lane]) : 0.0F);
    // Floats that are not negative are ordered like their bits, and a maximum knows no order of its terms.
    if (lane == 0) atomicMax(reinterpret_cast<int*>(largest), __float_as_int(top));
}

__global__ void from_fixed_point_kernel(float* values, const std::int64_t* sums, double inverse_scale, std::int64_t n) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step)
        values[i] = static_cast<float>(static_cast<double>(sums[i]) * inverse_scale);
}

unsigned blocks_of(std::int64_t n) { return static_cast<unsigned>(std::min(divide_up(n, threads), most_blocks)); }

}  // namespace

void CudaBackend::add_fixed_point(std::int64_t* sums, float* largest, float* values, int bits, std::int64_t n,
                                  Stream stream) {
    launch("add_fixed_point", add_fixed_point_kernel, dim3(blocks_of(n)), dim3(threads), 0, handle(stream), sums,
           largest, values, std::ldexp(1.0, bits), n);
}

void CudaBackend::from_fixed_point(float* values, const std::int64_t* sums, int bits, std::int64_t n, Stream stream) {
    launch("from_fixed_point", from_fixed_point_kernel, dim3(blocks_of(n)), dim3(threads), 0, handle(stream), values,
           sums, std::ldexp(1.0, -bits), n);
}

}  // namespace protalbert::cuda
