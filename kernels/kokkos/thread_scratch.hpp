#pragma once
// Scratch memory of the calling thread.

#include <cstdint>

namespace protalbert {

/// At least n floats, aligned to 64 bytes, valid until the thread's next call. Grows and stays.
float* thread_scratch(std::int64_t n);

}  // namespace protalbert
