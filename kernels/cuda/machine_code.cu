#include "kernels/cuda/device.cuh"
#include "kernels/cuda/machine_code.hpp"

namespace protalbert::cuda {

namespace {

/// As good as any other: all are compiled for the same GPUs.
__global__ void any_kernel() {}

}  // namespace

cudaError_t find_machine_code() {
    cudaFuncAttributes attributes{};
    return cudaFuncGetAttributes(&attributes, any_kernel);
}

}  // namespace protalbert::cuda
