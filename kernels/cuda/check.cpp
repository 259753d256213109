#include "kernels/cuda/check.hpp"

#include <fmt/format.h>

#include "base/error.hpp"

namespace protalbert::cuda {

void check(cudaError_t result, const char* call, const char* file, int line) {
    if (result == cudaSuccess) return;
    // After a kernel's fault every later call fails alike: the first message is the one to read.
    throw Error(
        fmt::format("{}:{}: {} failed: {} ({}); if it names an illegal access, run tests/gpu.sh on this machine", file,
                    line, call, cudaGetErrorString(result), cudaGetErrorName(result)));
}

}  // namespace protalbert::cuda
