#pragma once
// Device memory of the emulation. Each allocation ends where a page begins that nobody may touch, and lies between
// guard bytes. Host code finds all of it closed: it is open while a kernel or a copy of the runtime works. A fault
// becomes an Error of the kernel's thread, or a message and the end of the program where host code made it.

#include <cstddef>
#include <mutex>
#include <string>

namespace emulation {

/// Opens device memory, for one host thread at a time.
class DeviceAccess {
  public:
    DeviceAccess();
    ~DeviceAccess();
    DeviceAccess(const DeviceAccess&) = delete;
    DeviceAccess& operator=(const DeviceAccess&) = delete;
};

/// Null when `limit`, the memory of the emulated device, is reached.
void* allocate_device(std::size_t bytes);
/// False when `memory` did not come from allocate_device.
bool free_device(void* memory);

constexpr std::size_t device_bytes = std::size_t{8} << 30;
std::size_t free_device_bytes();

/// Whether [memory, memory + bytes) lies in one allocation.
bool in_device_memory(const void* memory, std::size_t bytes);

/// What is wrong with the guard bytes; empty when nothing is.
std::string damaged_guards();

}  // namespace emulation
