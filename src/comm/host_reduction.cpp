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
/// Sums of a step that find memory there already: four for each set of layer parameters and a few more, so sixty sets.
constexpr std::size_t most_sums = 256;

/// MPI libraries move messages only while somebody is inside MPI, so a thread starts the sums and looks after them;
/// where MPI allows one thread alone (less than MPI_THREAD_MULTIPLE), start(), progress() and finish() do.
class HostReduction final : public ReductionMethod {
  public:
    HostReduction(const Communicator& communicator, Backend* backend)
        : communicator_(communicator.duplicate()), backend_(backend) {
        asked_.reserve(most_sums);
        taken_.reserve(most_sums);
        requests_.reserve(most_sums);
        flights_.reserve(most_sums);
        done_.reserve(most_sums);
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
            asked_.push_back({values, n, type, name});
            idle_ = false;
        }
        changed_.notify_all();
        progress();
    }
    void progress() override {
        if (thread_.joinable()) return;
        taken_.swap(asked_);
        begin_taken();
        advance(MPI_Testsome, "MPI_Testsome");
    }
    void finish(Stream) override {
        if (!thread_.joinable()) {
            while (!requests_.empty()) advance(MPI_Waitsome, "MPI_Waitsome");
            return;
        }
        std::unique_lock lock(mutex_);
        hurrying_ = true;
        changed_.notify_all();
        changed_.wait(lock, [&] { return idle_ || error_; });
        hurrying_ = false;
        if (error_) std::rethrow_exception(error_);
    }
    std::string description() const override { return "MPI"; }

  private:
    /// A sum asked for.
    struct Sum {
        void* values;
        std::int64_t n;
        Type type;
        std::string name;
    };
    /// A sum in flight.
    struct Flight {
        std::string name;
        timeline::Clock::time_point begin;
    };

    void look_after() {
        std::unique_lock lock(mutex_);
        for (;;) {
            changed_.wait(lock, [&] { return stopping_ || (!idle_ && !error_); });
            if (stopping_) return;
            taken_.swap(asked_);
            lock.unlock();
            std::exception_ptr caught;
            try {
                begin_taken();
                advance(MPI_Testsome, "MPI_Testsome");
            } catch (...) {
                caught = std::current_exception();
            }
            lock.lock();
            error_ = caught;
            idle_ = requests_.empty() && asked_.empty();
            if (idle_ || error_)
                changed_.notify_all();
            else if (!hurrying_ && asked_.empty())
                changed_.wait_for(lock, look_every);
        }
    }

    void begin_taken() {
        for (Sum& sum : taken_) {
            const auto begin = timeline::Clock::now();
            start_mpi_sum(requests_, sum.values, sum.n, sum.type, communicator_);
            flights_.resize(requests_.size(), {std::move(sum.name), begin});
        }
        taken_.clear();
    }

    /// MPI_Testsome or MPI_Waitsome on the requests.
    void advance(decltype(MPI_Testsome)* call, const char* name) {
        if (requests_.empty()) return;
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

    // The thread's, or the caller's where there is none.
    std::vector<Sum> taken_;
    std::vector<MPI_Request> requests_;
    std::vector<Flight> flights_;  // of each request
    std::vector<int> done_;        // space for MPI's answer

    std::mutex mutex_;  // guards what follows; never held inside MPI, so that a caller never waits for a message
    std::condition_variable changed_;
    std::vector<Sum> asked_;
    bool idle_ = true;       // nothing is asked for or in flight
    bool hurrying_ = false;  // somebody waits
    bool stopping_ = false;
    std::exception_ptr error_;
    std::thread thread_;
};

}  // namespace

std::unique_ptr<ReductionMethod> make_host_reduction(const Communicator& communicator, Backend* backend) {
    return std::make_unique<HostReduction>(communicator, backend);
}

}  // namespace protalbert
