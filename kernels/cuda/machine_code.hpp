#pragma once
// Whether the program can run on a GPU at all.

#include <cuda_runtime.h>

namespace protalbert::cuda {

/// cudaErrorNoKernelImageForDevice, or cudaErrorInvalidDeviceFunction, where the program holds no machine code for the
/// chosen GPU. Otherwise the first kernel would tell, in the middle of a run.
cudaError_t find_machine_code();

}  // namespace protalbert::cuda
