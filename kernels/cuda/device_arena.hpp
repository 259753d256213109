#pragma once
// Device memory: one block for the arrays of a run, and single allocations beside it.

#include <cstddef>

namespace protalbert::cuda {

class DeviceArena {
  public:
    DeviceArena() = default;
    DeviceArena(const DeviceArena&) = delete;
    DeviceArena& operator=(const DeviceArena&) = delete;
    ~DeviceArena();

    /// Takes a block of `bytes` for the allocations that follow; the block before, if any, must be empty.
    void reserve(std::size_t bytes);
    /// The next piece of the block while it lasts, else memory of its own. Aligned to 256 bytes, not cleared.
    void* allocate(std::size_t bytes);
    void free(void* memory) noexcept;

  private:
    bool holds(const void* memory) const;
    void release() noexcept;

    std::byte* block_ = nullptr;
    std::size_t size_ = 0, used_ = 0;
    std::size_t pieces_ = 0;  ///< allocated and not freed
};

/// cudaMalloc; throws Error that names the size and what is free.
void* allocate_device(std::size_t bytes);

/// cudaFree and cudaFreeHost, of null too; nothing where leaving_device() says so.
void free_device(void* memory) noexcept;
void free_pinned(void* memory) noexcept;

/// Whether an exception unwinds: then nothing may wait for the device, and freeing memory does. A sum over ranks that
/// the others never join keeps a GPU busy for ever, and this rank would not come to say what went wrong. Nobody goes on
/// after such an exception: what is left to the process ends with it.
bool leaving_device() noexcept;

}  // namespace protalbert::cuda
