// Sums by MPI of gradients that the host reaches, in place.

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/timeline.hpp"
#include "comm/gradient_reduction.hpp"
#include "comm/mpi_sums.hpp"

namespace protalbert {

namespace {

/// How often the thread looks: a large sum takes a few messages of milliseconds each, and a look takes a microsecond.
constexpr std::chrono::microseconds look_every{200};

/// MPI libraries move messages only while somebody is inside MPI, so a thread looks after the sums in flight; where
/// MPI allows one thread alone (less than MPI_THREAD_MULTIPLE), progress() and finish() do.
class HostReduction final : public ReductionMethod {
  public:
    HostReduction(const Communicator& communicator, Backend* backend)
        : communicator_(communicator.duplicate()), backend_(backend) {
        int thread_level = MPI_THREAD_SINGLE;
        check_mpi(MPI_Query_thread(&thread_level), "MPI_Query_thread");
        if (thread_level == MPI_THREAD_MULTIPLE) thread_ = std::thread([this] { look_after(); });
    }
    ~HostReduction() override {
        if (!thread_.joinable()) return;
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        changed_.notify_all();
        thread_.join();
    }

    void start(void* values, std::int64_t n, Type type, Stream stream, const std::string& name) override {
        if (backend_ != nullptr) backend_->synchronize(stream);  // MPI reads the memory itself
        {
            const std::lock_guard lock(mutex_);
            const auto begin = timeline::Clock::now();
            start_mpi_sum(requests_, values, n, type, communicator_);
            flights_.resize(requests_.size(), {timeline::is_on() ? name : std::string(), begin});
        }
        changed_.notify_all();
    }
    void progress() override {
        const std::lock_guard lock(mutex_);
        if (!requests_.empty() && !error_) advance(MPI_Testsome, "MPI_Testsome");
    }
    void finish(Stream) override {
        const std::lock_guard lock(mutex_);
        if (error_) std::rethrow_exception(error_);
        while (!requests_.empty()) advance(MPI_Waitsome, "MPI_Waitsome");
    }
    std::string description() const override { return "MPI"; }

  private:
    struct Flight {
        std::string name;
        timeline::Clock::time_point begin;
    };

    void look_after() {
        std::unique_lock lock(mutex_);
        while (!stopping_) {
            if (requests_.empty() || error_) {
                changed_.wait(lock);
                continue;
            }
            try {
                advance(MPI_Testsome, "MPI_Testsome");
            } catch (...) {
                error_ = std::current_exception();
            }
            changed_.wait_for(lock, look_every);
        }
    }

    /// MPI_Testsome or MPI_Waitsome on the requests; with the mutex held.
    void advance(decltype(MPI_Testsome)* call, const char* name) {
        int count = 0;
        done_.resize(requests_.size());
        check_mpi(call(static_cast<int>(requests_.size()), requests_.data(), &count, done_.data(), MPI_STATUSES_IGNORE),
                  name);
        for (int i = 0; i < count; ++i) {
            Flight& flight = flights_[static_cast<std::size_t>(done_[static_cast<std::size_t>(i)])];
            timeline::record(Lane::reduction, std::move(flight.name), flight.begin);
        }
        if (std::all_of(requests_.begin(), requests_.end(), [](MPI_Request r) { return r == MPI_REQUEST_NULL; })) {
            requests_.clear();
            flights_.clear();
        }
    }

    const Communicator communicator_;
    Backend* const backend_;  ///< null where nothing is enqueued
    std::mutex mutex_;        // guards what follows
    std::condition_variable changed_;
    std::vector<MPI_Request> requests_;
    std::vector<Flight> flights_;  // of each request
    std::vector<int> done_;        // space for MPI's answer
    std::exception_ptr error_;     // the thread's
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace

std::unique_ptr<ReductionMethod> make_host_reduction(const Communicator& communicator, Backend* backend) {
    return std::make_unique<HostReduction>(communicator, backend);
}

}  // namespace protalbert
