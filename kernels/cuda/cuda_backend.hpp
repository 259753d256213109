#pragma once
// The backend for NVIDIA GPUs. A build without CUDA has these functions too: absent.cpp says that there is none.

#include <memory>
#include <string>

#include "kernels/backend.hpp"

namespace protalbert {

/// What this process can use.
struct CudaDevices {
    int count = 0;
    std::string none;  ///< why there is no usable GPU; empty where there is one
};
CudaDevices cuda_devices();

/// From now on GPU `index` is this thread's and that of every backend; before MPI starts, which may ask for it.
/// Throws InputError where there is no such GPU.
void choose_cuda_device(int index);

/// A name of the chosen GPU that no other has: its UUID. Slices of one GPU (MIG) share its place on the PCI bus, but
/// not this.
std::string cuda_device_name();

/// On the GPU that was chosen, else the first. Throws InputError that says why there is none.
std::unique_ptr<Backend> make_cuda_backend(Precision precision);

}  // namespace protalbert
