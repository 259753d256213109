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

void Backend::add_fixed_point(std::int64_t*, float*, float*, int, std::int64_t, Stream) {
    throw InputError(
        fmt::format("{} has no sums that are the same for any number of ranks yet; set train.reproducible to "
                    "false, or use --device cpu",
                    description()));
}

void Backend::from_fixed_point(float*, const std::int64_t*, int, std::int64_t, Stream) {
    PROTALBERT_CHECK(false, "add_fixed_point has thrown before");
}

namespace {

[[noreturn]] void refuse_heads(const Backend& backend) {
    throw InputError(
        fmt::format("{} has no operations for heads of predictions yet; use --device cpu", backend.description()));
}

}  // namespace

void Backend::cross_entropy(LossSums*, Activations, Activations, const std::int32_t*, double, std::int64_t,
                            std::int64_t, Stream) {
    refuse_heads(*this);
}

void Backend::window_sum(Activations, Activations, const float*, PackedSequences, std::int64_t, std::int64_t, Stream) {
    refuse_heads(*this);
}

void Backend::window_sum_backward(Activations, Activations, PackedSequences, std::int64_t, std::int64_t, Stream) {
    refuse_heads(*this);
}

void Backend::relu_dropout(Activations, Activations, const std::int64_t*, const Dropout&, std::int64_t, std::int64_t,
                           Stream) {
    refuse_heads(*this);
}

void Backend::relu_dropout_backward(Activations, Activations, Activations, double, std::int64_t, Stream) {
    refuse_heads(*this);
}

}  // namespace protalbert
