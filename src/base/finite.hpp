#pragma once
// Numbers that are none: NaN and infinities among weights.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace protalbert {

/// Whether no value is NaN or infinite. As fast as memory is read; in pieces that a cache holds it costs next to
/// nothing beside what else is done with them.
bool all_finite(const float* values /*[count]*/, std::size_t count);

/// "3 of its 1024 values are no finite numbers, the first is nan at [7, 2]", of an array that has such values.
std::string describe_not_finite(const float* values /*[product of shape]*/, const std::vector<std::int64_t>& shape);

}  // namespace protalbert
