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
    /// A sum asked for.
    struct Sum {
        void* values;
        int count;
        MPI_Datatype type;
        std::string name;
    };
    /// A sum in flight.
    struct Flight {
        std::string name;
        timeline::Clock::time_point begin;
    };
    const Communicator communicator;
    std::int64_t bytes = 0;

    // The thread's, or the caller's where there is none.
    std::vector<MPI_Request> requests;
    std::vector<Flight> flights;  // of each request
    std::vector<int> done;        // space for MPI's answer
    std::vector<Sum> taken;

    std::mutex mutex;  // guards what follows; never held inside MPI, so that a caller never waits for a message
    std::condition_variable changed;
    std::vector<Sum> asked;
    bool idle = true;       // nothing is asked for or in flight
    bool hurrying = false;  // somebody waits
    bool stopping = false;
    std::exception_ptr error;
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
        for (;;) {
            changed.wait(lock, [&] { return stopping || (!idle && !error); });
            if (stopping) return;
            taken.swap(asked);
            lock.unlock();
            std::exception_ptr caught;
            try {
                begin_taken();
                advance(MPI_Testsome, "MPI_Testsome");
            } catch (...) {
                caught = std::current_exception();
            }
            lock.lock();
            error = caught;
            idle = requests.empty() && asked.empty();
            if (idle || error)
                changed.notify_all();
            else if (!hurrying && asked.empty())
                changed.wait_for(lock, look_every);
        }
    }

    void begin_taken() {
        for (Sum& sum : taken) {
            const auto begin = timeline::Clock::now();
            MPI_Request request = MPI_REQUEST_NULL;
            check_mpi(
                MPI_Iallreduce(MPI_IN_PLACE, sum.values, sum.count, sum.type, MPI_SUM, communicator.handle(), &request),
                "MPI_Iallreduce");
            requests.push_back(request);
            flights.push_back({std::move(sum.name), begin});
        }
        taken.clear();
    }

    /// MPI_Testsome or MPI_Waitsome on the requests.
    void advance(decltype(MPI_Testsome)* call, const char* name) {
        if (requests.empty()) return;
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
            for (std::int64_t first = 0; first < n; first += largest_piece)
                asked.push_back({static_cast<std::byte*>(values) + first * element_bytes,
                                 static_cast<int>(std::min(largest_piece, n - first)), type, name});
            idle = false;
        }
        changed.notify_all();
        progress();
    }

    void progress() {
        if (thread.joinable()) return;
        taken.swap(asked);
        begin_taken();
        advance(MPI_Testsome, "MPI_Testsome");
    }

    void finish() {
        if (!thread.joinable()) {
            while (!requests.empty()) advance(MPI_Waitsome, "MPI_Waitsome");
            return;
        }
        std::unique_lock lock(mutex);
        hurrying = true;
        changed.notify_all();
        changed.wait(lock, [&] { return idle || error; });
        hurrying = false;
        if (error) std::rethrow_exception(error);
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

void GradientReduction::progress() { state_->progress(); }

double GradientReduction::maximum(double value) const {
    state_->communicator.maximum(&value, 1);
    return value;
}

double GradientReduction::finish() {
    const auto start = timeline::Clock::now();
    state_->finish();
    state_->bytes = 0;
    return std::chrono::duration<double>(timeline::Clock::now() - start).count();
}

std::int64_t GradientReduction::bytes() const { return state_->bytes; }

}  // namespace protalbert
