#include "tests/emulation/execution.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <numeric>

#include "tests/emulation/cuda_runtime.h"
#include "tests/emulation/device_memory.hpp"
#include "tests/emulation/shared_memory.hpp"

uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

namespace emulation {
namespace {

/// xorshift64*: quick, and any state but zero will do.
class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15U + 1) {}
    /// In [0, n).
    std::uint32_t below(std::uint32_t n) {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return static_cast<std::uint32_t>(((state_ * 0x2545f4914f6cdd1dU >> 32) * n) >> 32);
    }
    template <class T>
    void shuffle(std::vector<T>& items) {
        for (std::size_t i = items.size(); i > 1; --i) {
            std::swap(items[i - 1], items[below(static_cast<std::uint32_t>(i))]);
        }
    }

  private:
    std::uint64_t state_;
};

/// The instruction that lanes of a warp have arrived at.
struct Meeting {
    const char* name = nullptr;
    void (*perform)(void* const*) = nullptr;
    void* arguments[warp_size] = {};
    int arrived = 0;
};

/// The seed of every random choice: of the environment, so that a failure can be seen again.
std::uint64_t seed() {
    const char* const text = std::getenv("PROTALBERT_EMULATION_SEED");
    return text != nullptr ? std::strtoull(text, nullptr, 10) : 1;
}

/// The launch that is running_thread. One at a time: run() holds DeviceAccess.
const Launch* current = nullptr;
std::vector<std::unique_ptr<Thread>> threads;  ///< of the largest block so far
std::vector<Meeting> meetings;                 ///< of the block's warps
std::vector<int> can_run;
int thread_count = 0;
int ended = 0;
int at_barrier = 0;
int true_at_barrier = 0;
int barrier_result = 0;
std::string failure;

std::string place(const dim3& at) { return fmt::format("({}, {}, {})", at.x, at.y, at.z); }

std::string where() {
    return std::string("kernel ") + current->name + ", block " + place({blockIdx.x, blockIdx.y, blockIdx.z}) + " of " +
           place(gridDim);
}

/// Lets thread n run again.
void release(int n) {
    threads[static_cast<std::size_t>(n)]->waits_at = nullptr;
    can_run.push_back(n);
}

void pass_barrier() {
    ++block_epoch;
    barrier_result = true_at_barrier;
    at_barrier = true_at_barrier = 0;
    for (int n = 0; n < thread_count; ++n) {
        const Thread& thread = *threads[static_cast<std::size_t>(n)];
        if (!thread.ended) release(n);
    }
}

/// Thrown by fail().
struct Stopped {};

void thread_main() {
    bool stopped = false;
    try {
        current->kernel();
        if (!running_thread->copies.empty()) fail("ends without waiting for its cp.async");
    } catch (const Stopped&) {
        stopped = true;
    }
    if (stopped) leave_thread();
    running_thread->ended = true;
    ++ended;
    // Threads that have ended count as arrived, as on the device.
    if (at_barrier > 0 && at_barrier == thread_count - ended) pass_barrier();
    Fiber::suspend();
}

/// Why nobody can run: where the threads wait.
std::string describe_deadlock() {
    std::string text = where() + ": deadlock, threads wait for others that never come:";
    for (int n = 0; n < thread_count; ++n) {
        const Thread& thread = *threads[static_cast<std::size_t>(n)];
        const Thread* const before = n > 0 ? threads[static_cast<std::size_t>(n - 1)].get() : nullptr;
        const auto state = [](const Thread& t) {
            return std::string(t.ended ? "has ended" : t.waits_at != nullptr ? t.waits_at : "runs");
        };
        if (before != nullptr && state(*before) == state(thread)) continue;
        text += "\n  from thread " + std::to_string(n) + " on: " + state(thread);
    }
    return text;
}

void run_block(Random& random) {
    can_run.clear();
    meetings.assign(static_cast<std::size_t>((thread_count + warp_size - 1) / warp_size), {});
    ended = at_barrier = true_at_barrier = 0;
    block_epoch = 0;
    shared_memory.start_block(current->dynamic_shared_bytes);
    for (int n = 0; n < thread_count; ++n) {
        Thread& thread = *threads[static_cast<std::size_t>(n)];
        const auto number = static_cast<unsigned>(n);
        thread.index = {number % blockDim.x, number / blockDim.x % blockDim.y, number / (blockDim.x * blockDim.y)};
        thread.number = n;
        thread.warp = n / warp_size;
        thread.lane = n % warp_size;
        thread.waits_at = nullptr;
        thread.ended = false;
        thread.copies.clear();
        thread.committed_groups = 0;
        thread.warp_epoch = 0;
        thread.fiber.prepare(thread_main);
        can_run.push_back(n);
    }
    random.shuffle(can_run);
    // Two ways to take turns: anyone who can run, or the last one released. The second lets one warp run far ahead of
    // the others, which the first hardly ever does.
    const bool last_released = random.below(2) == 0;
    while (!can_run.empty()) {
        if (!last_released)
            std::swap(can_run[random.below(static_cast<std::uint32_t>(can_run.size()))], can_run.back());
        running_thread = threads[static_cast<std::size_t>(can_run.back())].get();
        can_run.pop_back();
        threadIdx = running_thread->index;
        running_thread->fiber.resume();
        if (!failure.empty()) break;
    }
    running_thread = nullptr;
    if (failure.empty() && ended < thread_count) failure = describe_deadlock();
}

}  // namespace

void run(const Launch& launch) {
    const DeviceAccess access;
    static std::uint64_t launches = 0;
    Random random(seed() + ++launches);
    current = &launch;
    failure.clear();
    blockDim = launch.block;
    gridDim = launch.grid;
    thread_count = static_cast<int>(launch.block.x * launch.block.y * launch.block.z);
    while (threads.size() < static_cast<std::size_t>(thread_count)) threads.push_back(std::make_unique<Thread>());
    std::vector<std::uint32_t> blocks(std::size_t{launch.grid.x} * launch.grid.y * launch.grid.z);
    std::iota(blocks.begin(), blocks.end(), 0U);
    random.shuffle(blocks);
    for (const std::uint32_t block : blocks) {
        blockIdx = {block % gridDim.x, block / gridDim.x % gridDim.y, block / gridDim.x / gridDim.y};
        run_block(random);
        if (!failure.empty()) break;
    }
    if (failure.empty()) failure = damaged_guards();
    current = nullptr;
    if (!failure.empty()) {
        throw Error(failure + "\n  (kernel " + launch.name + ", launch " + std::to_string(launches) +
                    "; the same order again: PROTALBERT_EMULATION_SEED=" + std::to_string(seed()) + ")");
    }
}

void note_failure(const std::string& what) {
    failure = where() + ", thread " + std::to_string(running_thread->number) + " (warp " +
              std::to_string(running_thread->warp) + ", lane " + std::to_string(running_thread->lane) + "): " + what;
}

void leave_thread() {
    Fiber::suspend();
    std::abort();  // a thread whose launch has failed is never resumed
}

void fail(const std::string& what) {
    note_failure(what);
    throw Stopped();
}

int block_barrier(const char* name, bool predicate) {
    ++at_barrier;
    true_at_barrier += predicate ? 1 : 0;
    const Meeting& meeting = meetings[static_cast<std::size_t>(running_thread->warp)];
    if (meeting.arrived > 0) fail(std::string("is at ") + name + " while lanes of its warp are at " + meeting.name);
    running_thread->waits_at = name;
    if (at_barrier == thread_count - ended) pass_barrier();
    Fiber::suspend();
    return barrier_result;
}

void warp_instruction(const char* name, std::uint32_t mask, void* argument, void (*perform)(void* const*)) {
    const int first = running_thread->warp * warp_size;
    if (mask != whole_warp) fail(std::string(name) + " of a part of a warp: the emulation knows whole warps alone");
    if (first + warp_size > thread_count) fail(std::string(name) + " in a warp of fewer than 32 threads");
    Meeting& meeting = meetings[static_cast<std::size_t>(running_thread->warp)];
    if (meeting.arrived == 0) {
        meeting.name = name;
        meeting.perform = perform;
    } else if (meeting.perform != perform) {
        fail("is at " + std::string(name) + " while lanes of its warp are at " + meeting.name);
    }
    meeting.arguments[running_thread->lane] = argument;
    running_thread->waits_at = name;
    if (++meeting.arrived == warp_size) {
        meeting.arrived = 0;
        perform(meeting.arguments);
        // The last to come goes on in its turn like the others.
        for (int lane = 0; lane < warp_size; ++lane) release(first + lane);
    }
    Fiber::suspend();
}

void warp_barrier(std::uint32_t mask) {
    warp_instruction("__syncwarp", mask, nullptr, [](void* const*) {
        const int first = running_thread->warp * warp_size;
        for (int lane = 0; lane < warp_size; ++lane) ++threads[static_cast<std::size_t>(first + lane)]->warp_epoch;
    });
}

}  // namespace emulation
