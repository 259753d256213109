#include "comm/gradient_reduction.hpp"

#include <chrono>
#include <vector>

#include "comm/mpi_sums.hpp"

namespace protalbert {

namespace {

/// MPI on the gradients themselves.
class HostReduction final : public ReductionMethod {
  public:
    HostReduction(const Communicator& communicator, Backend* backend)
        : communicator_(communicator.duplicate()), backend_(backend) {}
    void start(void* values, std::int64_t n, Type type, Stream stream) override {
        if (backend_ != nullptr) backend_->synchronize(stream);  // MPI reads the memory itself
        start_mpi_sum(requests_, values, n, type, communicator_);
    }
    void progress() override {
        if (requests_.empty()) return;
        int done = 0;
        check_mpi(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, MPI_STATUSES_IGNORE),
                  "MPI_Testall");
    }
    void finish(Stream) override {
        check_mpi(MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
        requests_.clear();
    }
    std::string description() const override { return "MPI"; }

  private:
    Communicator communicator_;
    Backend* backend_;
    std::vector<MPI_Request> requests_;
};

std::unique_ptr<ReductionMethod> choose(const Communicator& communicator, Backend& backend, std::size_t bytes) {
    if (backend.host_reaches_memory()) return std::make_unique<HostReduction>(communicator, &backend);
    if (auto method = make_nccl_reduction(communicator, backend)) return method;
    return make_staged_reduction(communicator, backend, bytes);
}

}  // namespace

GradientReduction::GradientReduction(const Communicator& communicator) : communicator_(communicator.duplicate()) {
    if (communicator.ranks() > 1) method_ = std::make_unique<HostReduction>(communicator, nullptr);
}

GradientReduction::GradientReduction(const Communicator& communicator, Backend& backend, std::size_t bytes)
    : communicator_(communicator.duplicate()) {
    if (communicator.ranks() > 1) method_ = choose(communicator, backend, bytes);
}

void GradientReduction::start(float* values, std::int64_t n, Stream stream) {
    start(values, n, ReductionMethod::Type::float32, sizeof(float), stream);
}

void GradientReduction::start(std::int64_t* values, std::int64_t n, Stream stream) {
    start(values, n, ReductionMethod::Type::int64, sizeof(std::int64_t), stream);
}

void GradientReduction::start(void* values, std::int64_t n, ReductionMethod::Type type, std::int64_t element_bytes,
                              Stream stream) {
    bytes_ += n * element_bytes;
    if (method_) method_->start(values, n, type, stream);
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
