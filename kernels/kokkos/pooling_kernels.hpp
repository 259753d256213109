// Vectors that leave the device (included by pooling.cpp for each instruction set).

/// The nearest half, ties to even; beyond 65504 infinity, NaN stays NaN.
static std::uint16_t to_half(float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, 4);
    const std::uint32_t sign = (bits >> 16) & 0x8000U;
    const std::uint32_t magnitude = bits & 0x7fffffffU;
    if (magnitude > 0x7f800000U) return static_cast<std::uint16_t>(sign | 0x7e00U);
    if (magnitude >= 0x477ff000U) return static_cast<std::uint16_t>(sign | 0x7c00U);
    if (magnitude < 0x38800000U) {
        // Subnormal: adding 0.5 leaves the rounded multiple of 2^-24 in the low mantissa bits.
        float shifted = 0;
        std::memcpy(&shifted, &magnitude, 4);
        shifted += 0.5F;
        std::uint32_t result = 0;
        std::memcpy(&result, &shifted, 4);
        return static_cast<std::uint16_t>(sign | (result - 0x3f000000U));
    }
    const std::uint32_t odd = (magnitude >> 13) & 1U;
    return static_cast<std::uint16_t>(sign | ((magnitude - 0x38000000U + 0xfffU + odd) >> 13));
}

/// out [n] = halves of x.
static void to_halves(std::uint16_t* out, const float* x, std::int64_t n) {
    std::int64_t i = 0;
#if PROTALBERT_LANES == 16
    for (; i + lanes <= n; i += lanes) {
        const __m256i halves = _mm512_maskz_cvtps_ph(0xffff, _mm512_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT);
        std::memcpy(out + i, &halves, sizeof halves);
    }
#elif PROTALBERT_LANES == 8
    for (; i + lanes <= n; i += lanes) {
        const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT);
        std::memcpy(out + i, &halves, sizeof halves);
    }
#endif
    for (; i < n; ++i) out[i] = to_half(x[i]);
}

/// out [columns] = sums over rows of x, in float64, times `factor`; the stride is between rows, columns <= mean_strip.
static void scaled_column_sums(float* out, const float* x, std::int64_t stride, std::int64_t rows, std::int64_t columns,
                               double factor) {
    double sums[mean_strip] = {};
    for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t c = 0; c < columns; ++c) sums[c] += x[r * stride + c];
    }
    for (std::int64_t c = 0; c < columns; ++c) out[c] = static_cast<float>(sums[c] * factor);
}
