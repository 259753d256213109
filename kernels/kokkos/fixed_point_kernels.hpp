// Fixed-point sums (included by fixed_point.cpp for each instruction set).

/// sums [n] += values x scale, rounded to nearest; values = 0. Returns the largest |value|, infinity for NaN.
static float add_fixed_point_piece(std::int64_t* sums, float* values, double scale, std::int64_t n) {
    // A power of two scales exactly, so that the rounding below is the only one, the same with or without FMA. The
    // compiler makes vectors of this loop where the instruction set converts them.
    float largest = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        const float value = values[i];
        const float magnitude = value == value ? __builtin_fabsf(value) : __builtin_inff();
        largest = magnitude > largest ? magnitude : largest;
        const double scaled = static_cast<double>(value) * scale;
        const double inside = __builtin_fabs(scaled) < fixed_point_limit ? scaled : 0.0;
        // Unsigned, since sums that are too large must wrap without harm: the caller learns of them by the largest
        // value.
        const auto rounded = static_cast<std::int64_t>(inside + (inside < 0 ? -0.5 : 0.5));
        sums[i] = static_cast<std::int64_t>(static_cast<std::uint64_t>(sums[i]) + static_cast<std::uint64_t>(rounded));
        values[i] = 0;
    }
    return largest;
}

/// values [n] = sums / scale, rounded to nearest.
static void from_fixed_point_piece(float* values, const std::int64_t* sums, double inverse_scale, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) values[i] = static_cast<float>(static_cast<double>(sums[i]) * inverse_scale);
}
