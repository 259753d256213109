#include "kernels/kokkos/packed_weights.hpp"

#include <algorithm>
#include <functional>

namespace protalbert {

namespace {

/// Whether [begin, end) and the `bytes` at `other` share memory. By std::less, which orders any pointers.
bool overlap(const float* begin, const float* end, const void* other, std::size_t bytes) {
    const std::less<const void*> before;
    return before(begin, static_cast<const std::byte*>(other) + bytes) && before(other, end);
}

bool overlap(const PackedWeight& weight, const void* other, std::size_t bytes) {
    return overlap(weight.weight, weight.weight + weight.rows * weight.columns, other, bytes);
}

}  // namespace

void announce(PackedWeights& packed, const float* begin, std::int64_t n) {
    outdate(packed, begin, static_cast<std::size_t>(n) * sizeof(float));
    const bool known = std::any_of(packed.arrays.begin(), packed.arrays.end(), [&](const PackedWeights::Array& array) {
        return array.begin == begin && array.end == begin + n;
    });
    if (!known) packed.arrays.push_back({begin, begin + n});
}

void outdate(PackedWeights& packed, const void* begin, std::size_t bytes) {
    for (const auto& weight : packed.weights)
        if (overlap(*weight, begin, bytes)) weight->current = false;
}

void forget(PackedWeights& packed, const void* begin, std::size_t bytes) {
    // With an array all weights in it: it may begin with the freed memory's first byte, which is all that is known.
    for (const PackedWeights::Array& array : packed.arrays) {
        if (!overlap(array.begin, array.end, begin, bytes)) continue;
        const auto size = static_cast<std::size_t>(array.end - array.begin) * sizeof(float);
        std::erase_if(packed.weights, [&](const auto& weight) { return overlap(*weight, array.begin, size); });
    }
    std::erase_if(packed.arrays,
                  [&](const PackedWeights::Array& array) { return overlap(array.begin, array.end, begin, bytes); });
    std::erase_if(packed.weights, [&](const auto& weight) { return overlap(*weight, begin, bytes); });
}

PackedWeight* find(PackedWeights& packed, const Operand& weight, std::int64_t rows, std::int64_t columns) {
    for (const auto& known : packed.weights)
        if (known->weight == weight.from && known->rows == rows && known->columns == columns &&
            known->sums_along_rows == weight.sums_along_rows)
            return known.get();
    const std::less_equal<const float*> not_behind;
    for (const PackedWeights::Array& array : packed.arrays) {
        if (!not_behind(array.begin, weight.from) || !not_behind(weight.from + rows * columns, array.end)) continue;
        auto made = std::make_unique<PackedWeight>();
        made->weight = weight.from;
        made->rows = rows;
        made->columns = columns;
        made->sums_along_rows = weight.sums_along_rows;
        packed.weights.push_back(std::move(made));
        return packed.weights.back().get();
    }
    return nullptr;
}

}  // namespace protalbert
