#pragma once
// Errors of the CUDA runtime as exceptions.

#include <cuda_runtime.h>

namespace protalbert::cuda {

/// Throws Error with the call, its place and CUDA's words unless `result` is success.
void check(cudaError_t result, const char* call, const char* file, int line);

}  // namespace protalbert::cuda

#define PROTALBERT_CUDA_CHECK(call) ::protalbert::cuda::check((call), #call, __FILE__, __LINE__)
