#pragma once
// Sums gradients over ranks while the backward pass goes on: each range starts as soon as it is final.

#include <mpi.h>

#include <cstdint>
#include <vector>

#include "comm/communicator.hpp"

namespace protalbert {

class GradientReduction {
  public:
    explicit GradientReduction(const Communicator& communicator);
    /// Starts the sum over ranks of values [n], in place; every rank calls it for the same ranges in the same order.
    void start(float* values, std::int64_t n);
    void start(std::int64_t* values, std::int64_t n);
    /// Lets the sums in flight advance; cheap, for use between products.
    void progress();
    /// Waits until every started sum is done. Seconds spent waiting.
    double finish();
    std::int64_t bytes() const { return bytes_; }  ///< reduced since the last finish
    /// The largest value over ranks; when no sum is in flight.
    double maximum(double value) const;

  private:
    void start(void* values, std::int64_t n, MPI_Datatype type, std::int64_t element_bytes);
    Communicator communicator_;
    std::vector<MPI_Request> requests_;
    std::int64_t bytes_ = 0;
};

}  // namespace protalbert
