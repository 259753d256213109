#pragma once
// What every reader of weights promises of the tensors that it lists.

#include <algorithm>

#include "fuzzing.hpp"
#include "io/stored_tensor.hpp"

namespace fuzzing {

/// They lie within a file of `bytes`, and those of a few elements can be read or are refused.
inline void check_tensors(const std::vector<protalbert::StoredTensor>& tensors, std::uint64_t bytes) {
    for (const protalbert::StoredTensor& tensor : tensors) {
        const auto width = protalbert::element_bytes(tensor.element);
        const auto extent = protalbert::extent_of(tensor.shape, tensor.strides);
        require(extent.has_value(), "sizes are numbers");
        if (!width) {
            float value = 0;
            require(refusal([&] { protalbert::read_tensor(tensor, &value); }).has_value(),
                    "unknown types are not read");
            continue;
        }
        require(tensor.position <= bytes && *extent <= (bytes - tensor.position) / *width,
                "tensors lie within the file");
        if (tensor.elements() > 1 << 16) continue;
        std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
        refusal([&] { protalbert::read_tensor(tensor, values.data()); });
    }
}

}  // namespace fuzzing
