// The emulation itself: what CUDA orders and allows works, and what it does not is reported, with the thread and the
// place.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "kernels/cuda/device.cuh"
#include "tests/emulation/device_array.hpp"

namespace protalbert::cuda {
namespace {

using emulation::DeviceArray;
using testing::HasSubstr;

/// What the launch of a faulty kernel reports; empty where it reports nothing.
template <class... Parameters, class... Arguments>
std::string report(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
                   Arguments... arguments) {
    try {
        launch("faulty", kernel, grid, block, shared_bytes, nullptr, arguments...);
    } catch (const std::exception& error) {
        return error.what();
    }
    return {};
}

std::vector<int> counted(int n) {
    std::vector<int> numbers(static_cast<std::size_t>(n));
    std::iota(numbers.begin(), numbers.end(), 0);
    return numbers;
}

__global__ void write_place(uint4* out) {
    const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    out[block * blockDim.x * blockDim.y * blockDim.z + thread] =
        make_uint4(blockIdx.x, blockIdx.y, threadIdx.x, threadIdx.z);
}

TEST(Emulation, EveryThreadOfEveryBlockRunsOnce) {
    const DeviceArray<uint4> out(2 * 3 * 2 * 5 * 2 * 3);
    launch("write_place", write_place, dim3(2, 3, 2), dim3(5, 2, 3), 0, nullptr, out.device());
    const std::vector<uint4> got = out.host();
    for (unsigned i = 0; i < got.size(); ++i) {
        const unsigned block = i / 30, thread = i % 30;
        EXPECT_EQ(got[i].x, block % 2);
        EXPECT_EQ(got[i].y, block / 2 % 3);
        EXPECT_EQ(got[i].z, thread % 5);
        EXPECT_EQ(got[i].w, thread / 10);
    }
}

// Barriers

enum class Fault { none, no_barrier_before_reading, no_barrier_before_writing };

/// Turns the block's numbers around, twice, in one array.
template <Fault fault>
__global__ void turn_twice(int* out, const int* in) {
    SHARED_ARRAY(int, numbers, 128);
    const int i = static_cast<int>(threadIdx.x), other = 127 - i;
    numbers[i] = in[i];
    if (fault != Fault::no_barrier_before_reading) __syncthreads();
    const int turned = numbers[other];
    if (fault != Fault::no_barrier_before_writing) __syncthreads();
    numbers[i] = turned;
    __syncthreads();
    out[i] = numbers[other];
}

TEST(Emulation, MissingBarriersAreReported) {
    const DeviceArray<int> in(counted(128)), out(128);
    EXPECT_EQ(report(turn_twice<Fault::none>, 1, 128, 0, out.device(), in.device()), "");
    EXPECT_EQ(out.host(), in.host());
    for (int i = 0; i < 20; ++i) {
        EXPECT_THAT(
            report(turn_twice<Fault::no_barrier_before_reading>, 1, 128, 0, out.device(), in.device()),
            AllOf(HasSubstr("kernel faulty, block (0, 0, 0) of (1, 1, 1), thread "),
                  HasSubstr(": reads what nobody wrote: numbers at byte "), HasSubstr("PROTALBERT_EMULATION_SEED=")));
    }
    for (int i = 0; i < 20; ++i) {
        EXPECT_THAT(report(turn_twice<Fault::no_barrier_before_writing>, 1, 128, 0, out.device(), in.device()),
                    HasSubstr("no barrier between them"));
    }
}

/// Every lane gives its number to the next, through shared memory.
template <bool barrier>
__global__ void pass_on(int* out) {
    SHARED_ARRAY(int, numbers, 64);
    const int i = static_cast<int>(threadIdx.x), warp = i / 32 * 32;
    numbers[i] = i;
    if (barrier) __syncwarp();
    out[i] = numbers[warp + (i + 1) % 32];
}
/// The same across warps, where a barrier of the warp orders nothing.
__global__ void pass_to_other_warp(int* out) {
    SHARED_ARRAY(int, numbers, 64);
    const int i = static_cast<int>(threadIdx.x);
    numbers[i] = i;
    __syncwarp();
    out[i] = numbers[(i + 32) % 64];
}

TEST(Emulation, BarriersOfAWarpOrderItsLanesAlone) {
    const DeviceArray<int> out(64);
    EXPECT_EQ(report(pass_on<true>, 1, 64, 0, out.device()), "");
    EXPECT_EQ(out.host()[31], 0);
    EXPECT_EQ(out.host()[32], 33);
    EXPECT_NE(report(pass_on<false>, 1, 64, 0, out.device()), "");
    EXPECT_NE(report(pass_to_other_warp, 1, 64, 0, out.device()), "");
}

/// A race in global memory, which nobody watches: the order of the threads must show it.
__global__ void race(int* out, int* scratch) {
    const int i = static_cast<int>(threadIdx.x);
    scratch[i] = 1;
    __syncwarp();
    out[i] = scratch[(i + 64) % 128];
    scratch[i] = 0;
}

TEST(Emulation, OrdersOfThreadsDiffer) {
    const DeviceArray<int> out(128), scratch(std::vector<int>(128, 0));
    std::set<std::vector<int>> results;
    for (int i = 0; i < 20; ++i) {
        launch("race", race, 1, 128, 0, nullptr, out.device(), scratch.device());
        results.insert(out.host());
    }
    EXPECT_GT(results.size(), 3U);
}

__global__ void barrier_for_some() {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncwarp();
        __shfl_sync(all_lanes, 1, 0);
        while (__syncthreads_or(threadIdx.x == 40) == 0) {
        }
        __syncthreads();
    }
}
__global__ void shuffle_of_half_a_warp(int* out) {
    if (threadIdx.x < 16) out[0] = __shfl_sync(all_lanes, 1, 0);
}
__global__ void lanes_apart(int* out) {
    if (threadIdx.x < 16) {
        out[0] = __shfl_sync(all_lanes, 1, 0);
    } else {
        __syncwarp();
    }
}

TEST(Emulation, WhoWaitsInVainIsReported) {
    const DeviceArray<int> out(1);
    EXPECT_THAT(report(barrier_for_some, 1, 64, 0), "") << "threads that have ended count as arrived";
    EXPECT_THAT(report(shuffle_of_half_a_warp, 1, 32, 0, out.device()),
                HasSubstr("from thread 0 on: __shfl_sync\n  from thread 16 on: has ended"));
    EXPECT_THAT(report(lanes_apart, 1, 32, 0, out.device()), HasSubstr("while lanes of its warp are at"));
}

__global__ void exchange(int* out) {
    const int lane = static_cast<int>(threadIdx.x);
    out[lane] = __shfl_xor_sync(all_lanes, lane, 5);
    out[32 + lane] = __shfl_down_sync(all_lanes, lane, 3);
    out[64 + lane] = __shfl_up_sync(all_lanes, lane, 3, 8);
    out[96 + lane] = __shfl_sync(all_lanes, lane, 9, 8);
    out[128 + lane] = static_cast<int>(__ballot_sync(all_lanes, lane % 3 == 0));
    out[160 + lane] = __syncthreads_count(lane < 7);
    out[192 + lane] = warp_sum(lane);
}

TEST(Emulation, WarpsExchangeAsTheGuideSays) {
    const DeviceArray<int> out(224);
    launch("exchange", exchange, 1, 32, 0, nullptr, out.device());
    const std::vector<int> got = out.host();
    for (int lane = 0; lane < 32; ++lane) {
        const auto at = [&](int row) { return got[static_cast<std::size_t>(32 * row + lane)]; };
        EXPECT_EQ(at(0), lane ^ 5);
        EXPECT_EQ(at(1), lane + 3 < 32 ? lane + 3 : lane);
        EXPECT_EQ(at(2), lane % 8 >= 3 ? lane - 3 : lane);
        EXPECT_EQ(at(3), lane / 8 * 8 + 1);
        EXPECT_EQ(at(4), 0x49249249);
        EXPECT_EQ(at(5), 7);
        EXPECT_EQ(at(6), 31 * 16);
    }
}

// Bounds

__global__ void write_at(int* out, std::int64_t i) { out[i] = 7; }
__global__ void read_at(int* out, const int* in, std::int64_t i) { *out = in[i]; }
__global__ void write_shared(int i) {
    SHARED_ARRAY(int, before, 4);
    SHARED_ARRAY(int, numbers, 10);
    SHARED_ARRAY(int, behind, 4);
    before[0] = behind[0] = 0;
    numbers[i] = 1;
}
__global__ void take_shared() { dynamic_shared<float>(16, 13)[0] = 1; }

TEST(Emulation, AccessesOutOfBoundsAreReported) {
    const DeviceArray<int> numbers(100), out(1);  // 400 bytes, then 112 of guard, then a closed page
    EXPECT_EQ(report(write_at, 1, 1, 0, numbers.device(), std::int64_t{99}), "");
    EXPECT_THAT(report(write_at, 1, 1, 0, numbers.device(), std::int64_t{100}),
                HasSubstr("wrote out of bounds: byte 400 of an allocation of 400 bytes"));
    const DeviceArray<int> others(100);
    EXPECT_THAT(report(write_at, 1, 1, 0, others.device(), std::int64_t{-1}), HasSubstr("byte -4 of an allocation"));
    EXPECT_THAT(report(write_at, 1, 1, 0, others.device(), std::int64_t{128}),
                HasSubstr("thread 0 (warp 0, lane 0): touches memory that is not its own"));
    EXPECT_THAT(report(read_at, 1, 1, 0, out.device(), others.device(), std::int64_t{128}), HasSubstr("byte 512"));
    EXPECT_EQ(report(write_shared, 1, 1, 0, 9), "");
    EXPECT_THAT(report(write_shared, 1, 1, 0, 10), HasSubstr("write out of bounds: byte 40 of the 40"));
    EXPECT_THAT(report(write_shared, 1, 1, 0, -1), HasSubstr("write out of bounds: byte -4 of the 40"));
    EXPECT_EQ(report(take_shared, 1, 1, 68), "");
    EXPECT_THAT(report(take_shared, 1, 1, 64), HasSubstr("takes 68 bytes of dynamic shared memory"));
    EXPECT_THAT(report(take_shared, 1, 1, 300000), HasSubstr("300000 bytes of shared memory: cudaErrorInvalidValue"));
    EXPECT_THAT(report(take_shared, 1, 1025, 68), HasSubstr("does not start"));
    EXPECT_EQ(report(write_at, 1, 1, 0, others.device(), std::int64_t{0}), "") << "the next launch is a fresh start";
}

TEST(EmulationDeathTest, HostCodeMayNotTouchDeviceMemory) {
    const DeviceArray<int> numbers(counted(4));
    EXPECT_DEATH(std::printf("%d\n", numbers.device()[1]), "host code touches device memory.*byte 4 of an allocation");
    std::vector<int> host(5);
    EXPECT_EQ(cudaMemcpy(host.data(), numbers.device(), 20, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemcpy(host.data(), numbers.device(), 16, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemcpy(host.data(), numbers.device(), 16, cudaMemcpyDeviceToHost), cudaSuccess);
    EXPECT_EQ(host[3], 3);
}

// Asynchronous copies

enum class Wait { both, first, none };

/// Two copies of 16 bytes a thread, each a group; reads the first group's, or the second's, of this or another thread.
template <Wait wait, bool barrier>
__global__ void copy_and_read(int* out, const int* in, bool second, bool other_thread) {
    SHARED_ARRAY(int, numbers, 256);
    const int i = static_cast<int>(threadIdx.x);
    cp_async16(numbers + 4 * i, in + 4 * i);
    cp_async_commit();
    cp_async16(numbers + 128 + 4 * i, in + 128 + 4 * i, i < 16);
    cp_async_commit();
    if (wait == Wait::both) cp_async_wait<0>();
    if (wait == Wait::first) cp_async_wait<1>();
    if (barrier) __syncthreads();
    out[i] = numbers[(second ? 128 : 0) + 4 * (other_thread ? 31 - i : i)];
    cp_async_wait<0>();
}

TEST(Emulation, CopiesAreSeenWhenWaitedForAndOrdered) {
    const DeviceArray<int> in(counted(256)), out(32);
    const auto run = [&](auto kernel, bool second, bool other) {
        return report(kernel, 1, 32, 0, out.device(), in.device(), second, other);
    };
    EXPECT_EQ(run(copy_and_read<Wait::both, true>, true, true), "");
    EXPECT_EQ(out.host()[31], 128);
    EXPECT_EQ(out.host()[0], 0) << "zeros where not valid";
    EXPECT_EQ(run(copy_and_read<Wait::first, true>, false, true), "");
    EXPECT_EQ(run(copy_and_read<Wait::first, false>, false, false), "") << "its own copies need no barrier";
    EXPECT_THAT(run(copy_and_read<Wait::first, true>, true, false), HasSubstr("(not waited for): numbers at byte "));
    EXPECT_THAT(run(copy_and_read<Wait::none, true>, false, true), HasSubstr("not waited for"));
    EXPECT_NE(run(copy_and_read<Wait::both, false>, false, true), "");
}

enum class CopyFault { overwrites, is_overwritten, not_aligned, never_waited };

template <CopyFault fault>
__global__ void faulty_copy(const int* in) {
    SHARED_ARRAY(int, numbers, 256);
    const int i = static_cast<int>(threadIdx.x);
    if (fault == CopyFault::overwrites) {
        numbers[i] = i;
        __syncthreads();
        if (numbers[(i + 40) % 64] < 0) return;
    }
    cp_async16(numbers + 4 * i + (fault == CopyFault::not_aligned ? 1 : 0), in + 4 * i);
    cp_async_commit();
    if (fault == CopyFault::is_overwritten) numbers[4 * i] = 1;
    if (fault != CopyFault::never_waited) cp_async_wait<0>();
}

TEST(Emulation, FaultyCopiesAreReported) {
    const DeviceArray<int> in(counted(256));
    EXPECT_THAT(report(faulty_copy<CopyFault::overwrites>, 1, 64, 0, in.device()),
                HasSubstr("no barrier between them"));
    EXPECT_THAT(report(faulty_copy<CopyFault::is_overwritten>, 1, 64, 0, in.device()),
                HasSubstr("writes where a cp.async of thread"));
    EXPECT_THAT(report(faulty_copy<CopyFault::not_aligned>, 1, 32, 0, in.device()), HasSubstr("not aligned"));
    EXPECT_THAT(report(faulty_copy<CopyFault::never_waited>, 1, 32, 0, in.device()),
                HasSubstr("ends without waiting for its cp.async"));
}

}  // namespace
}  // namespace protalbert::cuda
