#pragma once
// Memory of a backend's own, for scratch and for what it keeps.

#include <cstddef>
#include <cstdint>
#include <memory>

namespace protalbert {

struct FreeMemory {
    void operator()(void* memory) const;
};

/// Memory that grows and stays, aligned to memory_alignment.
struct GrowingMemory {
    std::unique_ptr<std::byte, FreeMemory> memory;
    std::size_t size = 0;  ///< bytes

    /// At least so many bytes; what was there is lost when they are more than before. Throws Error when memory is
    /// short.
    void* bytes(std::size_t count);
    /// The same of n floats.
    float* floats(std::int64_t n) { return static_cast<float*>(bytes(static_cast<std::size_t>(n) * sizeof(float))); }
};

}  // namespace protalbert
