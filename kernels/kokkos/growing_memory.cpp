#include "kernels/kokkos/growing_memory.hpp"

#include <fmt/format.h>

#include <cstdlib>

#include "base/error.hpp"
#include "kernels/backend.hpp"

namespace protalbert {

void FreeMemory::operator()(void* memory) const { std::free(memory); }

void* GrowingMemory::bytes(std::size_t count) {
    if (count > size) {
        memory.reset();
        size = 0;
        memory.reset(static_cast<std::byte*>(std::aligned_alloc(memory_alignment, allocated_bytes(count))));
        if (memory == nullptr)
            throw Error(
                fmt::format("out of memory: {} bytes for the kernels' own work; use smaller batches, or fewer "
                            "ranks on this machine",
                            count));
        size = allocated_bytes(count);
    }
    return memory.get();
}

}  // namespace protalbert
