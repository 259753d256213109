// Start-up, memory, copies, streams and events of the CUDA backend.

#include "kernels/cuda/cuda_backend.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "base/error.hpp"
#include "kernels/cuda/backend_class.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/machine_code.hpp"

namespace protalbert {

CudaDevices cuda_devices() {
    CudaDevices devices;
    const cudaError_t result = cudaGetDeviceCount(&devices.count);
    if (result != cudaSuccess) {
        cudaGetLastError();  // told here
        devices.count = 0;
        devices.none = fmt::format("no usable GPU ({})", cudaGetErrorString(result));
    } else if (devices.count == 0) {
        devices.none = "no usable GPU";
    }
    return devices;
}

void choose_cuda_device(int index) {
    const CudaDevices devices = cuda_devices();
    if (devices.count == 0) throw InputError(fmt::format("device cuda: {}; choose --device cpu", devices.none));
    if (index < 0 || index >= devices.count) {
        throw InputError(fmt::format(
            "device cuda: this machine's rank {} needs a GPU of its own, but there are {}; start at most {} "
            "ranks a machine",
            index, devices.count, devices.count));
    }
    PROTALBERT_CUDA_CHECK(cudaSetDevice(index));
}

std::string cuda_device_name() {
    int device = 0;
    cudaDeviceProp properties{};
    PROTALBERT_CUDA_CHECK(cudaGetDevice(&device));
    PROTALBERT_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
    std::string name = "GPU-";
    for (std::size_t i = 0; i < sizeof properties.uuid.bytes; ++i) {
        const bool group = i == 4 || i == 6 || i == 8 || i == 10;  // where a UUID is written with a dash
        name += fmt::format("{}{:02x}", group ? "-" : "", static_cast<unsigned char>(properties.uuid.bytes[i]));
    }
    return name;
}

std::unique_ptr<Backend> make_cuda_backend(Precision precision) {
    const CudaDevices devices = cuda_devices();
    if (devices.count == 0) throw InputError(fmt::format("device cuda: {}; choose --device cpu", devices.none));
    int device = 0;
    cudaDeviceProp properties{};
    PROTALBERT_CUDA_CHECK(cudaGetDevice(&device));
    PROTALBERT_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
    if (properties.major < 8) {
        throw InputError(
            fmt::format("device cuda: {} has compute capability {}.{}, and 8.0 or higher is needed; choose "
                        "--device cpu",
                        properties.name, properties.major, properties.minor));
    }
    const cudaError_t code = cuda::find_machine_code();
    if (code == cudaErrorNoKernelImageForDevice || code == cudaErrorInvalidDeviceFunction) {
        cudaGetLastError();  // told here
        throw InputError(
            fmt::format("device cuda: {} has compute capability {}.{}, for which this program has no code; build it "
                        "again with CUDA_ARCH = {}{} in Makefile.inc, or choose --device cpu",
                        properties.name, properties.major, properties.minor, properties.major, properties.minor));
    }
    PROTALBERT_CUDA_CHECK(code);
    return std::make_unique<cuda::CudaBackend>(precision);
}

namespace cuda {

CudaBackend::CudaBackend(Precision precision) : precision_(precision) {
    PROTALBERT_CUDA_CHECK(cudaGetDevice(&device_));
    scratch_ = allocate_device(scratch_bytes);
    products_ = std::make_unique<Products>(precision);
    tiles_ = std::make_unique<TileUploads>();
}

CudaBackend::~CudaBackend() {
    if (!leaving_device()) cudaDeviceSynchronize();  // what is under way may still use the memory
    for (const auto& [variables, table] : piece_tables_) free_device(table);
    tiles_.reset();
    products_.reset();
    free_device(scratch_);
}

std::string CudaBackend::description() const {
    cudaDeviceProp properties{};
    PROTALBERT_CUDA_CHECK(cudaGetDeviceProperties(&properties, device_));
    return fmt::format("GPU {}: {}, {:.0f} GB, compute capability {}.{}, {}, {}", device_, properties.name,
                       static_cast<double>(properties.totalGlobalMem) * 1e-9, properties.major, properties.minor,
                       precision_ == Precision::bfloat16 ? "bfloat16" : "float32", Products::description());
}

// Memory

void* CudaBackend::allocate(std::size_t bytes) {
    void* const memory = arena_.allocate(bytes);
    set_zero(memory, bytes, {});
    synchronize(Stream{});  // for whoever uses the memory on another stream
    return memory;
}

void CudaBackend::free(void* memory) noexcept {
    if (memory == nullptr || leaving_device()) return;
    cudaDeviceSynchronize();
    arena_.free(memory);
}

void CudaBackend::reserve(std::size_t bytes) { arena_.reserve(bytes); }

std::optional<MemorySize> CudaBackend::memory() const {
    MemorySize size{};
    PROTALBERT_CUDA_CHECK(cudaMemGetInfo(&size.free, &size.total));
    return size;
}

std::size_t CudaBackend::own_bytes(std::int64_t, bool) const {
    return scratch_bytes + Products::workspace_bytes() + TileUploads::first_bytes();
}

void* CudaBackend::allocate_host(std::size_t bytes) {
    void* memory = nullptr;
    const cudaError_t result = cudaMallocHost(&memory, std::max<std::size_t>(bytes, 1));
    if (result != cudaSuccess) {
        cudaGetLastError();  // told here
        throw Error(fmt::format("out of memory: cannot allocate {} bytes of pinned host memory: {}", bytes,
                                cudaGetErrorString(result)));
    }
    return memory;
}

void CudaBackend::free_host(void* memory) noexcept { free_pinned(memory); }

void CudaBackend::upload(void* device, const void* host, std::size_t bytes, Stream stream) {
    if (bytes > 0) PROTALBERT_CUDA_CHECK(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, handle(stream)));
}

void CudaBackend::download(void* host, const void* device, std::size_t bytes, Stream stream) {
    if (bytes > 0) PROTALBERT_CUDA_CHECK(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, handle(stream)));
}

void CudaBackend::copy(void* to, const void* from, std::size_t bytes, Stream stream) {
    if (bytes == 0 || to == from) return;
    PROTALBERT_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, handle(stream)));
}

void CudaBackend::set_zero(void* device, std::size_t bytes, Stream stream) {
    if (bytes > 0) PROTALBERT_CUDA_CHECK(cudaMemsetAsync(device, 0, bytes, handle(stream)));
}

void CudaBackend::synchronize(Stream stream) { PROTALBERT_CUDA_CHECK(cudaStreamSynchronize(handle(stream))); }

// Streams and events. The default stream would wait for all others if they were not made non-blocking.

Stream CudaBackend::make_stream() {
    // The highest priority: a sum between GPUs, a few blocks, otherwise starts when the last block of a product that
    // fills the GPU has.
    int least = 0, greatest = 0;
    PROTALBERT_CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    cudaStream_t stream = nullptr;
    PROTALBERT_CUDA_CHECK(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, greatest));
    return {stream};
}

void CudaBackend::free_stream(Stream stream) noexcept {
    if (stream.handle != nullptr) cudaStreamDestroy(handle(stream));
}

namespace {
cudaEvent_t handle(Event event) { return static_cast<cudaEvent_t>(event.handle); }
}  // namespace

Event CudaBackend::make_event() {
    cudaEvent_t event = nullptr;
    PROTALBERT_CUDA_CHECK(cudaEventCreate(&event));
    return {event};
}

void CudaBackend::free_event(Event event) noexcept {
    if (event.handle != nullptr) cudaEventDestroy(handle(event));
}

void CudaBackend::record(Event event, Stream stream) {
    PROTALBERT_CUDA_CHECK(cudaEventRecord(handle(event), cuda::handle(stream)));
}

void CudaBackend::wait(Stream stream, Event event) {
    PROTALBERT_CUDA_CHECK(cudaStreamWaitEvent(cuda::handle(stream), handle(event), 0));
}

void CudaBackend::wait_for(Event event) { PROTALBERT_CUDA_CHECK(cudaEventSynchronize(handle(event))); }

bool CudaBackend::done(Event event) {
    const cudaError_t result = cudaEventQuery(handle(event));
    if (result == cudaErrorNotReady) return false;
    PROTALBERT_CUDA_CHECK(result);
    return true;
}

double CudaBackend::seconds_between(Event from, Event to) {
    float milliseconds = 0;
    PROTALBERT_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, handle(from), handle(to)));
    return 1e-3 * static_cast<double>(milliseconds);
}

}  // namespace cuda

}  // namespace protalbert
