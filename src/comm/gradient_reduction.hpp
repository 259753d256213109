#pragma once
// Sums gradients over ranks while the backward pass goes on: each range starts as soon as it is final.
//
// Three ways, by where the gradients are and what the build has: MPI on memory that the host reaches
// (host_reduction.cpp); NCCL between GPUs, on a stream of its own (nccl_reduction.cpp); MPI on copies in the host's
// memory (staged_reduction.cpp).

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "comm/communicator.hpp"
#include "kernels/backend.hpp"

namespace protalbert {

/// One of the ways. Every rank starts the same ranges in the same order.
class ReductionMethod {
  public:
    enum class Type { float32, int64 };
    virtual ~ReductionMethod() = default;
    /// Starts the sum over ranks of values [n], in place, behind what is enqueued on `stream`. `name`: for the
    /// timeline.
    virtual void start(void* values, std::int64_t n, Type type, Stream stream, const std::string& name) = 0;
    /// Lets the sums in flight advance; does not wait.
    virtual void progress() = 0;
    /// What is enqueued on `stream` from now on finds every started sum done. May wait.
    virtual void finish(Stream stream) = 0;
    /// For people.
    virtual std::string description() const = 0;
};

class GradientReduction {
  public:
    /// For gradients that the host reaches.
    explicit GradientReduction(const Communicator& communicator);
    /// For gradients on the backend's device: at most `bytes` of them between two calls of finish. Collective.
    GradientReduction(const Communicator& communicator, Backend& backend, std::size_t bytes);
    GradientReduction(GradientReduction&&) = default;
    GradientReduction& operator=(GradientReduction&&) = default;
    /// Starts the sum over ranks of values [n], in place, behind what is enqueued on `stream`; every rank calls it for
    /// the same ranges in the same order. `name`: for the timeline.
    void start(float* values, std::int64_t n, Stream stream = {}, const std::string& name = {});
    void start(std::int64_t* values, std::int64_t n, Stream stream = {}, const std::string& name = {});
    /// Lets the sums in flight advance; cheap, for use between products.
    void progress();
    /// What is enqueued on `stream` from now on finds every started sum done. Seconds that the host spent waiting.
    double finish(Stream stream = {});
    std::int64_t bytes() const { return bytes_; }  ///< reduced since the last finish
    /// The largest value over ranks; when no sum is in flight.
    double maximum(double value) const;
    /// For people.
    std::string description() const;

  private:
    void start(void* values, std::int64_t n, ReductionMethod::Type type, std::int64_t element_bytes, Stream stream,
               const std::string& name);
    Communicator communicator_;
    std::unique_ptr<ReductionMethod> method_;  ///< null where one rank is alone
    std::int64_t bytes_ = 0;
};

/// By MPI, in place. `backend`: what the gradients are computed by, null where nothing is enqueued.
std::unique_ptr<ReductionMethod> make_host_reduction(const Communicator& communicator, Backend* backend);
/// By MPI through pinned host memory of `bytes`.
std::unique_ptr<ReductionMethod> make_staged_reduction(const Communicator& communicator, Backend& backend,
                                                       std::size_t bytes);
/// By NCCL between the GPUs that the ranks have chosen; null in a build without it. Collective.
std::unique_ptr<ReductionMethod> make_nccl_reduction(const Communicator& communicator, Backend& backend);

}  // namespace protalbert
