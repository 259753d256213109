#include "comm/gradient_reduction.hpp"

#include <algorithm>
#include <chrono>

namespace protalbert {

GradientReduction::GradientReduction(const Communicator& communicator) : communicator_(communicator.duplicate()) {}

void GradientReduction::start(float* values, std::int64_t n) { start(values, n, MPI_FLOAT, sizeof(float)); }

void GradientReduction::start(std::int64_t* values, std::int64_t n) {
    start(values, n, MPI_INT64_T, sizeof(std::int64_t));
}

void GradientReduction::start(void* values, std::int64_t n, MPI_Datatype type, std::int64_t element_bytes) {
    constexpr std::int64_t largest_piece = std::int64_t{1} << 30;  // MPI counts are ints
    bytes_ += n * element_bytes;
    if (communicator_.ranks() == 1) return;
    for (std::int64_t first = 0; first < n; first += largest_piece) {
        const int count = static_cast<int>(std::min(largest_piece, n - first));
        check_mpi(MPI_Iallreduce(MPI_IN_PLACE, static_cast<std::byte*>(values) + first * element_bytes, count, type,
                                 MPI_SUM, communicator_.handle(), &requests_.emplace_back()),
                  "MPI_Iallreduce");
    }
}

void GradientReduction::progress() {
    if (requests_.empty()) return;
    int done = 0;
    check_mpi(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, MPI_STATUSES_IGNORE),
              "MPI_Testall");
}

double GradientReduction::maximum(double value) const {
    communicator_.maximum(&value, 1);
    return value;
}

double GradientReduction::finish() {
    const auto start = std::chrono::steady_clock::now();
    check_mpi(MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
    requests_.clear();
    bytes_ = 0;
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace protalbert
