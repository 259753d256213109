#include "comm/mpi_sums.hpp"

#include <algorithm>

namespace protalbert {

void start_mpi_sum(std::vector<MPI_Request>& requests, void* values, std::int64_t n, ReductionMethod::Type type,
                   const Communicator& communicator) {
    constexpr std::int64_t largest_piece = std::int64_t{1} << 30;  // MPI counts are ints
    const MPI_Datatype datatype = type == ReductionMethod::Type::float32 ? MPI_FLOAT : MPI_INT64_T;
    for (std::int64_t first = 0; first < n; first += largest_piece) {
        const int count = static_cast<int>(std::min(largest_piece, n - first));
        check_mpi(MPI_Iallreduce(MPI_IN_PLACE, static_cast<std::byte*>(values) + first * element_bytes(type), count,
                                 datatype, MPI_SUM, communicator.handle(), &requests.emplace_back()),
                  "MPI_Iallreduce");
    }
}

}  // namespace protalbert
