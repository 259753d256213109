// Chooses the backend at run time.

#include "kernels/backend.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "kernels/cuda/cuda_backend.hpp"
#include "kernels/kokkos/kokkos_backend.hpp"

namespace protalbert {

std::unique_ptr<Backend> make_backend(const std::string& device, Precision precision, int threads) {
    if (device == "cuda") return make_cuda_backend(precision);
    if (device == "cpu") return make_kokkos_backend(precision, threads);
    if (device == "auto") {
        return cuda_device_count() > 0 ? make_cuda_backend(precision) : make_kokkos_backend(precision, threads);
    }
    throw InputError(fmt::format("unknown device '{}': choose auto, cpu or cuda", device));
}

}  // namespace protalbert
