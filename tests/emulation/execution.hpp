#pragma once
// One launch of a kernel on the host: blocks one after another in random order, the threads of a block as fibers that
// take turns in random order. A thread runs until it waits for others: at __syncthreads, or at an instruction that a
// whole warp executes together.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/emulation/fiber.hpp"
#include "tests/emulation/vector_types.hpp"

namespace emulation {

constexpr int warp_size = 32;
constexpr std::uint32_t whole_warp = 0xffffffffU;

/// A kernel did what no GPU allows or orders: the message names kernel, block, thread, what, and the seed to see it
/// again. Thrown by the launch, where a GPU would report it at the next synchronisation, or never.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// cp.async of 16 or 4 bytes that has been issued and not waited for.
struct PendingCopy {
    std::uint32_t to;     ///< shared address
    const void* from;     ///< null: zeros
    std::uint32_t bytes;  ///< at `to`
    std::uint32_t valid;  ///< the first bytes that come from `from`; zeros behind
    std::uint64_t group;
};

struct Thread {
    uint3 index;
    int number, warp, lane;
    const char* waits_at = nullptr;  ///< for messages; null while it can run
    bool ended = false;
    std::vector<PendingCopy> copies;
    std::uint64_t committed_groups = 0;
    std::uint32_t warp_epoch = 0;  ///< of __syncwarp that the warp has passed
    Fiber fiber;
};

struct Launch {
    const char* name;
    dim3 grid, block;
    std::size_t dynamic_shared_bytes;
    std::function<void()> kernel;  ///< of one thread
};

/// Runs every thread of every block. Throws Error.
void run(const Launch& launch);

/// The thread that runs; null outside of kernels. In the header, like the next: each access to shared memory asks.
inline Thread* running_thread = nullptr;
/// Number of barriers that the block has passed.
inline std::uint32_t block_epoch = 0;
inline Thread& this_thread() { return *running_thread; }
/// Ends the launch with `what`, said of this thread. Throws through the kernel, so that nothing is left behind.
[[noreturn]] void fail(const std::string& what);
/// The same from where nothing can be thrown, a signal handler, in two steps.
void note_failure(const std::string& what);
[[noreturn]] void leave_thread();

/// __syncthreads; returns of how many threads `predicate` was true.
int block_barrier(const char* name, bool predicate = true);

/// An instruction of a whole warp: waits for all lanes, then `perform` once with every lane's argument in turn.
void warp_instruction(const char* name, std::uint32_t mask, void* argument, void (*perform)(void* const* arguments));
/// __syncwarp.
void warp_barrier(std::uint32_t mask);

}  // namespace emulation
