#include "train/exact_sums.hpp"

#include <algorithm>
#include <cmath>

namespace protalbert {

ExactSums make_exact_sums(const Model& model) {
    return {
        .gradients = DeviceMemory(*model.backend, static_cast<std::size_t>(model.layout.size) * sizeof(std::int64_t)),
        .largest = DeviceMemory(*model.backend, sizeof(float)),
        .bits = 0};
}

void start_sums(ExactSums& sums, int bits, Backend& backend, Stream stream) {
    sums.bits = bits;
    backend.set_zero(sums.gradients.data(), sums.gradients.bytes(), stream);
    backend.set_zero(sums.largest.data(), sums.largest.bytes(), stream);
}

void add_gradients(ExactSums& sums, float* gradients, std::int64_t offset, std::int64_t size, Backend& backend,
                   Stream stream) {
    backend.add_fixed_point(sums.gradients.as<std::int64_t>() + offset, sums.largest.as<float>(), gradients + offset,
                            sums.bits, size, stream);
}

int bits_for(double largest, std::int64_t terms) {
    // The bound holds for the rounded terms too: each is at most largest x 2^bits + 1/2, and there are 2^62 to fill
    // before the sign.
    const double bound = largest * static_cast<double>(std::max<std::int64_t>(1, terms));
    if (bound == 0) return usual_bits;
    int exponent = 0;
    std::frexp(bound, &exponent);  // bound < 2^exponent
    return std::min(usual_bits, 62 - exponent);
}

LossTotals round_for_sums(const LossTotals& losses) {
    constexpr double scale = 0x1p28;
    LossTotals rounded = losses;  // correct answers are whole numbers already
    rounded.masked_loss = std::nearbyint(losses.masked_loss * scale) / scale;
    rounded.sentence_loss = std::nearbyint(losses.sentence_loss * scale) / scale;
    return rounded;
}

}  // namespace protalbert
