#pragma once
// The CUDA runtime on the host, as much of it as kernels/cuda uses, with CUDA's names. Found instead of the toolkit's
// header when a .cu file is compiled by a host compiler for the tests. Everything is done when a call returns: a stream
// is a queue that is always empty.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "tests/emulation/execution.hpp"
#include "tests/emulation/vector_types.hpp"

// The language

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __constant__
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;
constexpr int warpSize = emulation::warp_size;

// Barriers, votes, shuffles

inline void __syncthreads() { emulation::block_barrier("__syncthreads"); }
inline int __syncthreads_count(int predicate) {
    return emulation::block_barrier("__syncthreads_count", predicate != 0);
}
inline int __syncthreads_or(int predicate) { return emulation::block_barrier("__syncthreads_or", predicate != 0) > 0; }
inline int __syncthreads_and(int predicate) {
    return emulation::block_barrier("__syncthreads_and", predicate == 0) == 0;
}
inline void __syncwarp(unsigned mask = emulation::whole_warp) { emulation::warp_barrier(mask); }
inline void __threadfence() {}
inline void __threadfence_block() {}

namespace emulation {

/// result = value of the lane `from`, or the own one where `from` is outside.
template <class T>
struct Shuffle {
    T value, result;
    int from;
};

template <class T>
T shuffle(const char* name, unsigned mask, T value, int from) {
    Shuffle<T> argument{value, value, from};
    warp_instruction(name, mask, &argument, [](void* const* arguments) {
        for (int lane = 0; lane < warp_size; ++lane) {
            auto& to = *static_cast<Shuffle<T>*>(arguments[lane]);
            if (to.from >= 0 && to.from < warp_size) to.result = static_cast<Shuffle<T>*>(arguments[to.from])->value;
        }
    });
    return argument.result;
}

inline unsigned ballot(const char* name, unsigned mask, bool predicate) {
    struct Vote {
        bool predicate;
        unsigned result;
    } vote{predicate, 0};
    warp_instruction(name, mask, &vote, [](void* const* arguments) {
        unsigned votes = 0;
        for (int lane = 0; lane < warp_size; ++lane) {
            votes |= unsigned{static_cast<Vote*>(arguments[lane])->predicate} << lane;
        }
        for (int lane = 0; lane < warp_size; ++lane) static_cast<Vote*>(arguments[lane])->result = votes;
    });
    return vote.result;
}

/// First lane of this lane's group of `width`.
inline int group_of(int width) { return this_thread().lane / width * width; }

}  // namespace emulation

template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = warpSize) {
    return emulation::shuffle("__shfl_sync", mask, value, emulation::group_of(width) + (from & (width - 1)));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize) {
    const int from = emulation::this_thread().lane ^ lanes;
    // A lane may read of its own group and of those before it.
    return emulation::shuffle("__shfl_xor_sync", mask, value, from < emulation::group_of(width) + width ? from : -1);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned lanes, int width = warpSize) {
    const int from = emulation::this_thread().lane + static_cast<int>(lanes);
    return emulation::shuffle("__shfl_down_sync", mask, value, from < emulation::group_of(width) + width ? from : -1);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned lanes, int width = warpSize) {
    const int from = emulation::this_thread().lane - static_cast<int>(lanes);
    return emulation::shuffle("__shfl_up_sync", mask, value, from >= emulation::group_of(width) ? from : -1);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    return emulation::ballot("__ballot_sync", mask, predicate != 0);
}
inline int __any_sync(unsigned mask, int predicate) {
    return emulation::ballot("__any_sync", mask, predicate != 0) != 0;
}
inline int __all_sync(unsigned mask, int predicate) {
    return emulation::ballot("__all_sync", mask, predicate == 0) == 0;
}

// Arithmetic

using std::max;
using std::min;
inline int max(int a, int b) { return a > b ? a : b; }
inline int min(int a, int b) { return a < b ? a : b; }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __log2f(float x) { return std::log2(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1 / x; }
inline float __frsqrt_rn(float x) { return 1 / std::sqrt(x); }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline long long __double2ll_rn(double x) { return std::llrint(x); }
inline long long __float2ll_rn(float x) { return std::llrint(x); }
inline int __float2int_rn(float x) { return static_cast<int>(std::lrint(x)); }
inline double __ll2double_rn(long long x) { return static_cast<double>(x); }
inline float __ll2float_rn(long long x) { return static_cast<float>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
template <class T>
T __ldg(const T* p) {
    return *p;
}
template <class T>
T __ldcs(const T* p) {
    return *p;
}
template <class T>
void __stcs(T* p, T value) {
    *p = value;
}

// Atomics of global memory: threads take turns, so each is one by nature. They return the old value.

template <class T>
T atomicAdd(T* p, T value) {
    const T old = *p;
    *p = old + value;
    return old;
}
template <class T>
T atomicMax(T* p, T value) {
    const T old = *p;
    if (value > old) *p = value;
    return old;
}
template <class T>
T atomicMin(T* p, T value) {
    const T old = *p;
    if (value < old) *p = value;
    return old;
}
template <class T>
T atomicCAS(T* p, T expected, T value) {
    const T old = *p;
    if (old == expected) *p = value;
    return old;
}
template <class T>
T atomicExch(T* p, T value) {
    const T old = *p;
    *p = value;
    return old;
}

// The host's side

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInsufficientDriver = 35,
    cudaErrorInvalidDeviceFunction = 98,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorNoKernelImageForDevice = 209,
    cudaErrorNotReady = 600,
    cudaErrorLaunchFailure = 719
};
const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();

struct cudaUUID_t {
    char bytes[16];
};
struct cudaDeviceProp {
    char name[256];
    cudaUUID_t uuid;
    int major, minor;
    int multiProcessorCount;
    std::size_t totalGlobalMem;
    std::size_t sharedMemPerBlockOptin;
    int l2CacheSize;
};
enum cudaDeviceAttr {
    cudaDevAttrMaxSharedMemoryPerBlock = 8,
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);

cudaError_t cudaMalloc(void** memory, std::size_t bytes);
cudaError_t cudaFree(void* memory);
constexpr unsigned cudaHostAllocDefault = 0, cudaHostAllocPortable = 1;
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned flags);
cudaError_t cudaMallocHost(void** memory, std::size_t bytes);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes);
template <class T>
cudaError_t cudaMalloc(T** memory, std::size_t bytes) {
    return cudaMalloc(reinterpret_cast<void**>(memory), bytes);
}
template <class T>
cudaError_t cudaMallocHost(T** memory, std::size_t bytes) {
    return cudaMallocHost(reinterpret_cast<void**>(memory), bytes);
}

struct CUstream_st;
struct CUevent_st;
using cudaStream_t = CUstream_st*;
using cudaEvent_t = CUevent_st*;
constexpr unsigned cudaStreamDefault = 0, cudaStreamNonBlocking = 1;
constexpr unsigned cudaEventDefault = 0, cudaEventDisableTiming = 2;
cudaError_t cudaStreamCreate(cudaStream_t* stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority);
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end);

enum cudaMemcpyKind {
    cudaMemcpyHostToHost = 0,
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost = 2,
    cudaMemcpyDeviceToDevice = 3,
    cudaMemcpyDefault = 4
};
/// cudaErrorInvalidValue where `kind` does not say where `to` and `from` are.
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream = nullptr);
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream = nullptr);
cudaError_t cudaMemset(void* memory, int value, std::size_t bytes);

enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
    cudaFuncAttributePreferredSharedMemoryCarveout = 9
};
struct cudaFuncAttributes {
    int maxThreadsPerBlock;
};
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel);
template <class... Parameters>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, void (*kernel)(Parameters...)) {
    return cudaFuncGetAttributes(attributes, reinterpret_cast<const void*>(kernel));
}
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value);
template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute attribute, int value) {
    return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), attribute, value);
}

namespace emulation {
/// Whether a GPU would start such a launch of `kernel`.
cudaError_t check_launch(const void* kernel, dim3 grid, dim3 block, std::size_t dynamic_shared_bytes);
}  // namespace emulation
