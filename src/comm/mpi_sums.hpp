#pragma once
// Sums over ranks that go on beside the host's work, in pieces that MPI can count.

#include <mpi.h>

#include <cstdint>
#include <vector>

#include "comm/gradient_reduction.hpp"

namespace protalbert {

/// Starts the sum of values [n] in place and appends its requests.
void start_mpi_sum(std::vector<MPI_Request>& requests, void* values, std::int64_t n, ReductionMethod::Type type,
                   const Communicator& communicator);

inline std::int64_t element_bytes(ReductionMethod::Type type) {
    return type == ReductionMethod::Type::float32 ? std::int64_t{sizeof(float)} : std::int64_t{sizeof(std::int64_t)};
}

}  // namespace protalbert
