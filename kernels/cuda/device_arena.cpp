#include "kernels/cuda/device_arena.hpp"

#include <cuda_runtime.h>
#include <fmt/format.h>

#include <exception>

#include "base/error.hpp"
#include "kernels/backend.hpp"
#include "kernels/cuda/check.hpp"

namespace protalbert::cuda {

void* allocate_device(std::size_t bytes) {
    void* memory = nullptr;
    const cudaError_t result = cudaMalloc(&memory, allocated_bytes(bytes));
    if (result == cudaSuccess) return memory;
    cudaGetLastError();  // this error is reported here and is nobody else's
    std::size_t free = 0, total = 0;
    if (result == cudaErrorMemoryAllocation && cudaMemGetInfo(&free, &total) == cudaSuccess) {
        throw Error(
            fmt::format("out of memory: cannot allocate {} bytes ({:.1f} GB), {:.1f} of the GPU's {:.1f} GB are "
                        "free; use smaller batches",
                        bytes, static_cast<double>(bytes) * 1e-9, static_cast<double>(free) * 1e-9,
                        static_cast<double>(total) * 1e-9));
    }
    throw Error(fmt::format("cannot allocate {} bytes on the GPU: {}", bytes, cudaGetErrorString(result)));
}

bool leaving_device() noexcept { return std::uncaught_exceptions() > 0; }

void free_device(void* memory) noexcept {
    if (!leaving_device()) cudaFree(memory);
}

void free_pinned(void* memory) noexcept {
    if (!leaving_device()) cudaFreeHost(memory);
}

DeviceArena::~DeviceArena() { release(); }

void DeviceArena::release() noexcept {
    free_device(block_);
    block_ = nullptr;
    size_ = used_ = 0;
}

void DeviceArena::reserve(std::size_t bytes) {
    PROTALBERT_CHECK(pieces_ == 0, "memory is reserved before it is used");
    release();
    block_ = static_cast<std::byte*>(allocate_device(bytes));
    size_ = bytes;
}

bool DeviceArena::holds(const void* memory) const {
    return block_ != nullptr && memory >= block_ && memory < block_ + size_;
}

void* DeviceArena::allocate(std::size_t bytes) {
    if (bytes > size_ || allocated_bytes(bytes) > size_ - used_) return allocate_device(bytes);
    void* const piece = block_ + used_;
    used_ += allocated_bytes(bytes);
    ++pieces_;
    return piece;
}

void DeviceArena::free(void* memory) noexcept {
    if (memory == nullptr) return;
    if (!holds(memory)) {
        free_device(memory);
    } else if (--pieces_ == 0) {
        release();
    }
}

}  // namespace protalbert::cuda
