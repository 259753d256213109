#pragma once
// How a kernel is started.

#include <string>

#include "base/error.hpp"

namespace protalbert::cuda {

/// Starts `kernel` on `stream` with `arguments`; a grid without blocks does nothing. More than 48 KB of dynamic shared
/// memory are asked for as CUDA wants it. Throws Error that names the kernel when it cannot start; what goes wrong
/// while it runs shows at the next synchronisation.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t dynamic_shared_bytes,
            cudaStream_t stream, Arguments... arguments) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    constexpr std::size_t granted_bytes = 48 << 10;
    cudaError_t error = cudaSuccess;
    if (dynamic_shared_bytes > granted_bytes) {
        error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     static_cast<int>(dynamic_shared_bytes));
    }
    if (error == cudaSuccess) {
        error = launch_kernel(name, kernel, grid, block, dynamic_shared_bytes, stream, arguments...);
    }
    if (error == cudaSuccess) return;
    throw Error(std::string("CUDA: kernel ") + name + " does not start with " + std::to_string(grid.x) + " x " +
                std::to_string(grid.y) + " x " + std::to_string(grid.z) + " blocks of " +
                std::to_string(block.x * block.y * block.z) + " threads and " + std::to_string(dynamic_shared_bytes) +
                " bytes of shared memory: " + cudaGetErrorString(error));
}

}  // namespace protalbert::cuda
