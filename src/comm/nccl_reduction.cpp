// Sums of gradients between GPUs by NCCL, on a stream of its own: the host enqueues and goes on.
//
// NCCL reports a lost peer late or never (a rank that ends takes the others with it through MPI, but a GPU or a cable
// says nothing): a watchdog thread asks for its errors, and ends the job when a step's sums do not come.

#include "comm/gradient_reduction.hpp"

#ifndef PROTALBERT_NCCL

namespace protalbert {

std::unique_ptr<ReductionMethod> make_nccl_reduction(const Communicator&, Backend&) { return nullptr; }

}  // namespace protalbert

#else

#include <fmt/format.h>
#include <nccl.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <thread>

#include "base/error.hpp"
#include "comm/program.hpp"
#include "kernels/handles.hpp"

namespace protalbert {

namespace {

/// How often the watchdog looks.
constexpr std::chrono::seconds look_every{1};
/// From the end of a step's enqueueing to its sums: the rest of the backward pass and the sums themselves. Ten minutes
/// are several times the longest step that performance allows (two minutes, on one GPU). Counted in looks: while a job
/// is suspended nobody looks, and its sums are not late.
constexpr std::chrono::minutes patience{10};
constexpr int looks_of_patience = patience / look_every;

void check_nccl(ncclResult_t result, const char* call) {
    if (result != ncclSuccess) throw Error(fmt::format("{} failed: {}", call, ncclGetErrorString(result)));
}

/// Looks after a communicator from a thread of its own, and ends the job when something is wrong.
class Watchdog {
  public:
    /// `summed` is recorded behind a step's sums, after expect().
    Watchdog(ncclComm_t communicator, cudaEvent_t summed, int rank)
        : communicator_(communicator), summed_(summed), rank_(rank) {
        cudaGetDevice(&device_);
        thread_ = std::thread([this] { run(); });
    }
    ~Watchdog() {
        {
            const std::lock_guard lock(mutex_);
            ending_ = true;
        }
        changed_.notify_one();
        thread_.join();
    }
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;

    /// The sums whose end is recorded next must come within the patience. Before the record: an event that is not ready
    /// after the last sums' deadline ends the job.
    void expect() { looks_left_ = looks_of_patience; }

  private:
    void run() {
        cudaSetDevice(device_);  // a new thread would look at the first GPU
        std::unique_lock lock(mutex_);
        while (!changed_.wait_for(lock, look_every, [this] { return ending_; })) {
            ncclResult_t state = ncclSuccess;
            const ncclResult_t asked = ncclCommGetAsyncError(communicator_, &state);
            if (asked != ncclSuccess || (state != ncclSuccess && state != ncclInProgress)) {
                abort_job(rank_, fmt::format("NCCL lost its connection to another GPU: {}; look at that machine, "
                                             "NCCL_DEBUG=INFO tells more",
                                             ncclGetErrorString(asked != ncclSuccess ? asked : state)));
            }
            if (--looks_left_ < 0 && cudaEventQuery(summed_) == cudaErrorNotReady) {
                abort_job(rank_,
                          fmt::format("the sums of gradients over GPUs have not come for {} minutes; a rank or a "
                                      "network is stuck, NCCL_DEBUG=INFO tells more",
                                      patience.count()));
            }
        }
    }

    ncclComm_t communicator_;
    cudaEvent_t summed_;
    int rank_;
    int device_ = 0;
    std::atomic<int> looks_left_ = std::numeric_limits<int>::max();  // no sums are expected yet
    std::mutex mutex_;
    std::condition_variable changed_;
    bool ending_ = false;
    std::thread thread_;
};

class NcclReduction final : public ReductionMethod {
  public:
    NcclReduction(const Communicator& communicator, Backend& backend)
        : backend_(backend), stream_(backend), final_(backend), summed_(backend) {
        // One rank makes the id, MPI brings it to the others.
        ncclUniqueId id{};
        on_root(communicator, [&] { check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId"); });
        communicator.broadcast(&id, sizeof id, 0);
        check_nccl(ncclCommInitRank(&communicator_, communicator.ranks(), id, communicator.rank()), "ncclCommInitRank");
        watchdog_ = std::make_unique<Watchdog>(communicator_, static_cast<cudaEvent_t>(summed_.get().handle),
                                               communicator.rank());
    }
    ~NcclReduction() override {
        watchdog_.reset();
        // Both ways to end a communicator, ncclCommDestroy and ncclCommAbort, wait for the other ranks, which may never
        // come during an exception. It stays as it is: the process ends.
        if (!unwinding()) ncclCommDestroy(communicator_);
    }
    NcclReduction(const NcclReduction&) = delete;
    NcclReduction& operator=(const NcclReduction&) = delete;

    void start(void* values, std::int64_t n, Type type, Stream stream, const std::string&) override {
        backend_.record(final_.get(), stream);
        backend_.wait(stream_.get(), final_.get());
        check_nccl(
            ncclAllReduce(values, values, static_cast<std::size_t>(n), type == Type::float32 ? ncclFloat32 : ncclInt64,
                          ncclSum, communicator_, static_cast<cudaStream_t>(stream_.get().handle)),
            "ncclAllReduce");
    }
    void progress() override {}
    void finish(Stream stream) override {
        watchdog_->expect();
        backend_.record(summed_.get(), stream_.get());
        backend_.wait(stream, summed_.get());
    }
    std::string description() const override {
        int version = 0;
        ncclGetVersion(&version);
        return fmt::format("NCCL {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
    }

  private:
    Backend& backend_;
    OwnStream stream_;
    OwnEvent final_;   ///< a range is final
    OwnEvent summed_;  ///< a step's sums are done
    ncclComm_t communicator_ = nullptr;
    std::unique_ptr<Watchdog> watchdog_;
};

}  // namespace

std::unique_ptr<ReductionMethod> make_nccl_reduction(const Communicator& communicator, Backend& backend) {
    return std::make_unique<NcclReduction>(communicator, backend);
}

}  // namespace protalbert

#endif
