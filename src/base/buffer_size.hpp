#pragma once
// Sizes of the buffers that readers of files work with.

#include <cstddef>

namespace protalbert {

/// `usual` bytes. The fuzzers are built with a few KiB instead, more than any magic number or id needs: their inputs
/// are small, and must reach a buffer's end too.
constexpr std::size_t buffer_size([[maybe_unused]] std::size_t usual) {
#ifdef PROTALBERT_FUZZING
    return 4096;
#else
    return usual;
#endif
}

}  // namespace protalbert
