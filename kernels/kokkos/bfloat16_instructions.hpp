// The product of pairs of bfloat16 (included by product_kernels.cpp behind vectors.hpp, for AVX-512 BF16).

/// sums + a b for each element: both are pairs, a the same one for all. Two multiply-adds one after the other; numbers
/// below 2^-126 are treated as 0.
PROTALBERT_INLINE Floats multiply_pairs(Floats sums, const float* a, Floats b) {
    std::int32_t pair = 0;
    std::memcpy(&pair, a, sizeof pair);
    return reinterpret_cast<Floats>(_mm512_dpbf16_ps(
        reinterpret_cast<__m512>(sums), reinterpret_cast<__m512bh>(all_ints(pair)), reinterpret_cast<__m512bh>(b)));
}
