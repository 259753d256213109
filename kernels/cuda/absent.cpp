// Stands in for kernels/cuda/*.cu in a build without CUDA.

#include "base/error.hpp"
#include "kernels/cuda/cuda_backend.hpp"

namespace protalbert {

CudaDevices cuda_devices() { return {0, "this build of protalbert has no CUDA"}; }

void choose_cuda_device(int) { throw InputError("this build of protalbert has no CUDA"); }

std::string cuda_device_name() { return {}; }

std::unique_ptr<Backend> make_cuda_backend(Precision) {
    throw InputError(
        "device cuda: this build of protalbert has no CUDA; choose --device cpu (or auto), or build with "
        "CUDA = ON in Makefile.inc");
}

}  // namespace protalbert
