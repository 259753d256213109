#include "base/finite.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bit>
#include <cmath>
#include <functional>
#include <numeric>

namespace protalbert {

bool all_finite(const float* values, std::size_t count) {
    // Numbers that are not finite have an exponent of ones, to which one more carries into the highest bit. Without a
    // branch, so that the loop becomes vector instructions.
    std::uint32_t carried = 0;
    for (std::size_t i = 0; i < count; ++i)
        carried |= (std::bit_cast<std::uint32_t>(values[i]) & 0x7F800000U) + 0x00800000U;
    return (carried & 0x80000000U) == 0;
}

std::string describe_not_finite(const float* values, const std::vector<std::int64_t>& shape) {
    const std::int64_t size = std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
    std::int64_t count = 0;
    std::int64_t first = 0;
    for (std::int64_t i = size; i-- > 0;) {
        if (std::isfinite(values[i])) continue;
        ++count;
        first = i;
    }
    std::vector<std::int64_t> index(shape.size());
    std::int64_t rest = first;
    for (std::size_t d = shape.size(); d-- > 0; rest /= shape[d]) index[d] = rest % shape[d];
    return fmt::format("{} of its {} values {}, the first is {} at [{}]", count, size,
                       count == 1 ? "is no finite number" : "are no finite numbers", values[first],
                       fmt::join(index, ", "));
}

}  // namespace protalbert
