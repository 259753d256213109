#include "comm/gradient_reduction.hpp"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/timeline.hpp"

namespace protalbert {

namespace {

/// How often the thread looks: a large sum takes a few messages of milliseconds each, and a look takes a microsecond.
constexpr std::chrono::microseconds look_every{200};

}  // namespace

struct GradientReduction::State {
    struct Flight {
        std::string name;
        timeline::Clock::time_point begin;
    };
    const Communicator communicator;
    std::int64_t bytes = 0;

    std::mutex mutex;  // guards what follows
    std::condition_variable changed;
    std::vector<MPI_Request> requests;
    std::vector<Flight> flights;  // of each request
    std::vector<int> done;        // space for MPI's answer
    std::exception_ptr error;     // the thread's
    bool stopping = false;
    std::thread thread;

    explicit State(const Communicator& communicator_) : communicator(communicator_.duplicate()) {
        int thread_level = MPI_THREAD_SINGLE;
        check_mpi(MPI_Query_thread(&thread_level), "MPI_Query_thread");
        if (communicator.ranks() > 1 && thread_level == MPI_THREAD_MULTIPLE)
            thread = std::thread([this] { look_after(); });
    }

    ~State() {
        if (!thread.joinable()) return;
        {
            const std::lock_guard lock(mutex);
            stopping = true;
        }
        changed.notify_all();
        thread.join();
    }

    void look_after() {
        std::unique_lock lock(mutex);
        while (!stopping) {
            if (requests.empty() || error) {
                changed.wait(lock);
                continue;
            }
            try {
                advance(MPI_Testsome, "MPI_Testsome");
            } catch (...) {
                error = std::current_exception();
            }
            changed.wait_for(lock, look_every);
        }
    }

    /// MPI_Testsome or MPI_Waitsome on the requests; with the mutex held.
    void advance(decltype(MPI_Testsome)* call, const char* name) {
        int count = 0;
        done.resize(requests.size());
        check_mpi(call(static_cast<int>(requests.size()), requests.data(), &count, done.data(), MPI_STATUSES_IGNORE),
                  name);
        for (int i = 0; i < count; ++i) {
            Flight& flight = flights[static_cast<std::size_t>(done[static_cast<std::size_t>(i)])];
            timeline::record(Lane::reduction, std::move(flight.name), flight.begin);
        }
        if (std::all_of(requests.begin(), requests.end(), [](MPI_Request r) { return r == MPI_REQUEST_NULL; })) {
            requests.clear();
            flights.clear();
        }
    }

    void start(void* values, std::int64_t n, MPI_Datatype type, std::int64_t element_bytes, const std::string& name) {
        constexpr std::int64_t largest_piece = std::int64_t{1} << 30;  // MPI counts are ints
        bytes += n * element_bytes;
        if (communicator.ranks() == 1) return;
        {
            const std::lock_guard lock(mutex);
            for (std::int64_t first = 0; first < n; first += largest_piece) {
                const int count = static_cast<int>(std::min(largest_piece, n - first));
                MPI_Request request = MPI_REQUEST_NULL;
                const auto begin = timeline::Clock::now();
                check_mpi(MPI_Iallreduce(MPI_IN_PLACE, static_cast<std::byte*>(values) + first * element_bytes, count,
                                         type, MPI_SUM, communicator.handle(), &request),
                          "MPI_Iallreduce");
                requests.push_back(request);
                flights.push_back({timeline::is_on() ? name : std::string(), begin});
            }
        }
        changed.notify_all();
    }
};

GradientReduction::GradientReduction(const Communicator& communicator)
    : state_(std::make_unique<State>(communicator)) {}
GradientReduction::GradientReduction(GradientReduction&&) noexcept = default;
GradientReduction::~GradientReduction() = default;

void GradientReduction::start(float* values, std::int64_t n, const std::string& name) {
    state_->start(values, n, MPI_FLOAT, sizeof(float), name);
}

void GradientReduction::start(std::int64_t* values, std::int64_t n, const std::string& name) {
    state_->start(values, n, MPI_INT64_T, sizeof(std::int64_t), name);
}

void GradientReduction::progress() {
    const std::lock_guard lock(state_->mutex);
    if (!state_->requests.empty() && !state_->error) state_->advance(MPI_Testsome, "MPI_Testsome");
}

double GradientReduction::maximum(double value) const {
    state_->communicator.maximum(&value, 1);
    return value;
}

double GradientReduction::finish() {
    const auto start = timeline::Clock::now();
    const std::lock_guard lock(state_->mutex);
    if (state_->error) std::rethrow_exception(state_->error);
    while (!state_->requests.empty()) state_->advance(MPI_Waitsome, "MPI_Waitsome");
    state_->bytes = 0;
    return std::chrono::duration<double>(timeline::Clock::now() - start).count();
}

std::int64_t GradientReduction::bytes() const { return state_->bytes; }

}  // namespace protalbert
