#pragma once
// Pieces of one block of device memory. Laying a workspace out without memory counts its bytes, so that an estimate and
// the allocation cannot differ.

#include <cstddef>
#include <cstdint>

#include "kernels/backend.hpp"

namespace protalbert {

class Arena {
  public:
    /// Pieces of `memory` (null: counts only) for activations of `element_bytes`.
    Arena(std::byte* memory, std::int64_t element_bytes) : memory_(memory), element_bytes_(element_bytes) {}

    Activations activations(std::int64_t elements) {
        return {take(static_cast<std::size_t>(elements * element_bytes_)), element_bytes_};
    }
    float* floats(std::int64_t elements) {
        return reinterpret_cast<float*>(take(static_cast<std::size_t>(elements) * sizeof(float)));
    }
    std::size_t bytes() const { return used_; }

  private:
    std::byte* take(std::size_t bytes) {
        std::byte* const piece = memory_ == nullptr ? nullptr : memory_ + used_;
        used_ += allocated_bytes(bytes);
        return piece;
    }

    std::byte* memory_;
    std::int64_t element_bytes_;
    std::size_t used_ = 0;
};

}  // namespace protalbert
