#include "comm/gradient_reduction.hpp"

#include <chrono>

namespace protalbert {

namespace {

std::unique_ptr<ReductionMethod> choose(const Communicator& communicator, Backend& backend, std::size_t bytes) {
    if (backend.host_reaches_memory()) return make_host_reduction(communicator, &backend);
    if (auto method = make_nccl_reduction(communicator, backend)) return method;
    return make_staged_reduction(communicator, backend, bytes);
}

}  // namespace

GradientReduction::GradientReduction(const Communicator& communicator) : communicator_(communicator.duplicate()) {
    if (communicator.ranks() > 1) method_ = make_host_reduction(communicator, nullptr);
}

GradientReduction::GradientReduction(const Communicator& communicator, Backend& backend, std::size_t bytes)
    : communicator_(communicator.duplicate()) {
    if (communicator.ranks() > 1) method_ = choose(communicator, backend, bytes);
}

void GradientReduction::start(float* values, std::int64_t n, Stream stream, const std::string& name) {
    start(values, n, ReductionMethod::Type::float32, sizeof(float), stream, name);
}

void GradientReduction::start(std::int64_t* values, std::int64_t n, Stream stream, const std::string& name) {
    start(values, n, ReductionMethod::Type::int64, sizeof(std::int64_t), stream, name);
}

void GradientReduction::start(void* values, std::int64_t n, ReductionMethod::Type type, std::int64_t element_bytes,
                              Stream stream, const std::string& name) {
    bytes_ += n * element_bytes;
    if (method_) method_->start(values, n, type, stream, name);
}

void GradientReduction::progress() {
    if (method_) method_->progress();
}

double GradientReduction::maximum(double value) const {
    communicator_.maximum(&value, 1);
    return value;
}

double GradientReduction::finish(Stream stream) {
    const auto start = std::chrono::steady_clock::now();
    if (method_) method_->finish(stream);
    bytes_ = 0;
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string GradientReduction::description() const { return method_ ? method_->description() : "nobody else"; }

}  // namespace protalbert
