#pragma once
// The backend for NVIDIA GPUs. This build has none: the functions say so.

#include <memory>

#include "base/error.hpp"
#include "kernels/backend.hpp"

namespace protalbert {

/// Number of usable GPUs.
inline int cuda_device_count() { return 0; }

[[noreturn]] inline std::unique_ptr<Backend> make_cuda_backend(Precision /*precision*/) {
    throw InputError("device cuda: this build of protalbert has no CUDA; choose --device cpu (or auto)");
}

}  // namespace protalbert
