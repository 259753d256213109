// The host's side of the emulated CUDA runtime.

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "tests/emulation/cuda_runtime.h"
#include "tests/emulation/device_memory.hpp"

namespace {

using Clock = std::chrono::steady_clock;

/// Limits of compute capability 9.0.
constexpr unsigned most_threads = 1024;
constexpr unsigned most_blocks_y_or_z = 65535;
constexpr std::size_t granted_shared_bytes = 48 << 10;  ///< without cudaFuncSetAttribute
constexpr std::size_t most_shared_bytes = 227 << 10;
/// As many as make "one block a multiprocessor" a loop in small tests too.
constexpr int multiprocessors = 4;

/// PROTALBERT_TEST_CAPABILITY = MAJOR.MINOR makes the GPU another one.
struct Capability {
    int major = 9, minor = 0;
};
Capability capability() {
    Capability capability;
    const char* const text = std::getenv("PROTALBERT_TEST_CAPABILITY");
    if (text != nullptr) std::sscanf(text, "%d.%d", &capability.major, &capability.minor);
    return capability;
}

thread_local cudaError_t last_error = cudaSuccess;

cudaError_t note(cudaError_t error) {
    if (error != cudaSuccess) last_error = error;
    return error;
}

cudaError_t valid(bool condition) { return note(condition ? cudaSuccess : cudaErrorInvalidValue); }

std::mutex mutex;
std::map<const void*, std::size_t> granted;  ///< dynamic shared bytes by kernel

/// Whether `kind` is true of memory that is, or is not, on the device.
bool is_where_said(cudaMemcpyKind kind, bool to_device, bool from_device) {
    switch (kind) {
        case cudaMemcpyHostToHost:
            return !to_device && !from_device;
        case cudaMemcpyHostToDevice:
            return to_device && !from_device;
        case cudaMemcpyDeviceToHost:
            return !to_device && from_device;
        case cudaMemcpyDeviceToDevice:
            return to_device && from_device;
        default:
            return true;
    }
}

}  // namespace

struct CUstream_st {};
struct CUevent_st {
    Clock::time_point recorded;
};

const char* cudaGetErrorName(cudaError_t error) {
    switch (error) {
        case cudaSuccess:
            return "cudaSuccess";
        case cudaErrorInvalidValue:
            return "cudaErrorInvalidValue";
        case cudaErrorMemoryAllocation:
            return "cudaErrorMemoryAllocation";
        case cudaErrorInvalidConfiguration:
            return "cudaErrorInvalidConfiguration";
        case cudaErrorInsufficientDriver:
            return "cudaErrorInsufficientDriver";
        case cudaErrorNoDevice:
            return "cudaErrorNoDevice";
        case cudaErrorInvalidDevice:
            return "cudaErrorInvalidDevice";
        case cudaErrorInvalidDeviceFunction:
            return "cudaErrorInvalidDeviceFunction";
        case cudaErrorNoKernelImageForDevice:
            return "cudaErrorNoKernelImageForDevice";
        case cudaErrorNotReady:
            return "cudaErrorNotReady";
        case cudaErrorLaunchFailure:
            return "cudaErrorLaunchFailure";
    }
    return "unknown error";
}
const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }
cudaError_t cudaPeekAtLastError() { return last_error; }
cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }

cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return note(device == 0 ? cudaSuccess : cudaErrorInvalidDevice); }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
    *properties = {};
    std::snprintf(properties->name, sizeof properties->name, "emulated GPU");
    const pid_t process = getpid();  // each has a GPU of its own
    std::memcpy(properties->uuid.bytes, &process, sizeof process);
    properties->major = capability().major;
    properties->minor = capability().minor;
    properties->multiProcessorCount = multiprocessors;
    properties->totalGlobalMem = emulation::device_bytes;
    properties->sharedMemPerBlockOptin = most_shared_bytes;
    properties->l2CacheSize = 50 << 20;
    return note(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
    switch (attribute) {
        case cudaDevAttrMaxSharedMemoryPerBlock:
            *value = static_cast<int>(granted_shared_bytes);
            break;
        case cudaDevAttrMultiProcessorCount:
            *value = multiprocessors;
            break;
        case cudaDevAttrComputeCapabilityMajor:
            *value = capability().major;
            break;
        case cudaDevAttrComputeCapabilityMinor:
            *value = capability().minor;
            break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin:
            *value = static_cast<int>(most_shared_bytes);
            break;
    }
    return note(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* version) {
    *version = 13000;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
    *memory = bytes > 0 ? emulation::allocate_device(bytes) : nullptr;
    return note(*memory != nullptr || bytes == 0 ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void* memory) { return valid(memory == nullptr || emulation::free_device(memory)); }
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
    *memory = std::malloc(bytes);
    return note(*memory != nullptr ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaMallocHost(void** memory, std::size_t bytes) { return cudaHostAlloc(memory, bytes, 0); }
cudaError_t cudaFreeHost(void* memory) {
    std::free(memory);
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes) {
    *free_bytes = emulation::free_device_bytes();
    *total_bytes = emulation::device_bytes;
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
    *stream = new CUstream_st;
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return cudaStreamCreate(stream); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) { return cudaStreamCreate(stream); }
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
    *least = *greatest = 0;
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamQuery(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t event, unsigned) { return valid(event != nullptr); }
cudaError_t cudaEventCreate(cudaEvent_t* event) {
    *event = new CUevent_st{Clock::now()};
    return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return cudaEventCreate(event); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
    event->recorded = Clock::now();
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventQuery(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
    *milliseconds = std::chrono::duration<float, std::milli>(end->recorded - start->recorded).count();
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
    if (bytes == 0) return cudaSuccess;
    const bool to_device = emulation::in_device_memory(to, bytes);
    const bool from_device = emulation::in_device_memory(from, bytes);
    if (!is_where_said(kind, to_device, from_device)) return note(cudaErrorInvalidValue);
    const emulation::DeviceAccess access;
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t) {
    if (bytes == 0) return cudaSuccess;
    if (!emulation::in_device_memory(memory, bytes)) return note(cudaErrorInvalidValue);
    const emulation::DeviceAccess access;
    std::memset(memory, value, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemset(void* memory, int value, std::size_t bytes) {
    return cudaMemsetAsync(memory, value, bytes, nullptr);
}

/// The code of a usual build: for 8.0 and 9.0, which other GPUs of the same major number run too.
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
    const int major = capability().major;
    if (major != 8 && major != 9) return note(cudaErrorNoKernelImageForDevice);
    *attributes = {static_cast<int>(most_threads)};
    return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || static_cast<std::size_t>(value) > most_shared_bytes) return note(cudaErrorInvalidValue);
    const std::lock_guard lock(mutex);
    granted[kernel] = static_cast<std::size_t>(value);
    return cudaSuccess;
}

cudaError_t emulation::check_launch(const void* kernel, dim3 grid, dim3 block, std::size_t dynamic_shared_bytes) {
    const std::size_t threads = std::size_t{block.x} * block.y * block.z;
    const bool sizes = grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.x <= 0x7fffffffU &&
                       grid.y <= most_blocks_y_or_z && grid.z <= most_blocks_y_or_z && threads > 0 &&
                       threads <= most_threads && block.z <= 64;
    if (!sizes) return note(cudaErrorInvalidConfiguration);
    const std::lock_guard lock(mutex);
    const auto found = granted.find(kernel);
    return valid(dynamic_shared_bytes <= (found != granted.end() ? found->second : granted_shared_bytes));
}
