#pragma once
// Sums gradients over ranks while the backward pass goes on: each range starts as soon as it is final.

#include <cstdint>
#include <memory>
#include <string>

#include "comm/communicator.hpp"

namespace protalbert {

/// MPI libraries move messages only while somebody is inside MPI, so a thread starts the sums and looks after them;
/// where MPI allows one thread alone (less than MPI_THREAD_MULTIPLE), start(), progress() and finish() do.
class GradientReduction {
  public:
    explicit GradientReduction(const Communicator& communicator);
    GradientReduction(GradientReduction&&) noexcept;
    ~GradientReduction();
    /// Starts the sum over ranks of values [n], in place; every rank calls it for the same ranges in the same order.
    /// `name`: for the timeline.
    void start(float* values, std::int64_t n, const std::string& name = {});
    void start(std::int64_t* values, std::int64_t n, const std::string& name = {});
    /// Lets the sums in flight advance; cheap, for use between products.
    void progress();
    /// Waits until every started sum is done. Seconds spent waiting. Throws Error when MPI failed.
    double finish();
    std::int64_t bytes() const;  ///< reduced since the last finish
    /// The largest value over ranks; when no sum is in flight.
    double maximum(double value) const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace protalbert
