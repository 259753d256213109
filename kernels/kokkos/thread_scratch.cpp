// Scratch memory of the calling thread.

#include "kernels/kokkos/thread_scratch.hpp"

#include <cstdlib>
#include <memory>
#include <new>

namespace protalbert {

float* thread_scratch(std::int64_t n) {
    struct Free {
        void operator()(float* memory) const { std::free(memory); }
    };
    thread_local std::unique_ptr<float, Free> memory;
    thread_local std::int64_t size = 0;
    if (n > size) {
        // 4096: whole pages, a multiple of the cache line.
        const std::size_t bytes = (static_cast<std::size_t>(n) * sizeof(float) + 4095) / 4096 * 4096;
        auto* const larger = static_cast<float*>(std::aligned_alloc(4096, bytes));
        if (larger == nullptr) throw std::bad_alloc();
        memory.reset(larger);
        size = n;
    }
    // The analyzer takes the thread's pointer for a local one that ends here.
    return memory.get();  // NOLINT(clang-analyzer-unix.Malloc)
}

}  // namespace protalbert
