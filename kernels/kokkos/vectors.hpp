// Vectors of PROTALBERT_LANES floats and functions of them, for the instruction set that is being compiled (included by
// for_each_instruction_set.hpp alone, hence no include guard). Built on the vector extensions of GCC and Clang.

/// Floats in a vector.
constexpr int lanes = PROTALBERT_LANES;
typedef float Floats __attribute__((vector_size(4 * PROTALBERT_LANES)));
typedef std::int32_t Ints __attribute__((vector_size(4 * PROTALBERT_LANES)));
typedef std::uint32_t Bits __attribute__((vector_size(4 * PROTALBERT_LANES)));
/// The same in memory at any address.
typedef float LooseFloats __attribute__((vector_size(4 * PROTALBERT_LANES), aligned(4), may_alias));
/// As many floats as there are doubles in a vector register, and those doubles.
typedef float LooseHalfFloats __attribute__((vector_size(2 * PROTALBERT_LANES), aligned(4), may_alias));
typedef float HalfFloats __attribute__((vector_size(2 * PROTALBERT_LANES)));
typedef double Doubles __attribute__((vector_size(4 * PROTALBERT_LANES)));

PROTALBERT_INLINE Floats load(const float* p) { return *reinterpret_cast<const LooseFloats*>(p); }
PROTALBERT_INLINE void store(float* p, Floats x) { *reinterpret_cast<LooseFloats*>(p) = x; }
PROTALBERT_INLINE Floats all(float x) { return x - Floats{}; }
PROTALBERT_INLINE Ints all_ints(std::int32_t x) { return x - Ints{}; }
PROTALBERT_INLINE Ints as_ints(Floats x) { return reinterpret_cast<Ints>(x); }
PROTALBERT_INLINE Floats as_floats(Ints x) { return reinterpret_cast<Floats>(x); }

/// a b + c, rounded once where the instruction set has it so.
PROTALBERT_INLINE Floats multiply_add(Floats a, Floats b, Floats c) {
#if PROTALBERT_LANES == 16
    return reinterpret_cast<Floats>(
        _mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#elif PROTALBERT_LANES == 8
    return reinterpret_cast<Floats>(
        _mm256_fmadd_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
#else
    return a * b + c;
#endif
}

/// 0, 1, 2, ...
PROTALBERT_INLINE Ints lane_numbers() {
    Ints numbers;
    for (int i = 0; i < lanes; ++i) numbers[i] = i;
    return numbers;
}

// Clang shuffles by constants alone; it finds them itself once the loop is unrolled.
/// x[from[0]], x[from[1]], ...
PROTALBERT_INLINE Floats shuffle(Floats x, Ints from) {
#if defined(__clang__)
    Floats result{};
    for (int i = 0; i < lanes; ++i) result[i] = x[from[i]];
    return result;
#else
    return __builtin_shuffle(x, from);
#endif
}
/// The same of the 2 lanes elements of a and b.
PROTALBERT_INLINE Floats shuffle(Floats a, Floats b, Ints from) {
#if defined(__clang__)
    Floats result{};
    for (int i = 0; i < lanes; ++i) result[i] = from[i] < lanes ? a[from[i]] : b[from[i] - lanes];
    return result;
#else
    return __builtin_shuffle(a, b, from);
#endif
}

/// The first n < lanes elements; zeros behind.
PROTALBERT_INLINE Floats load_part(const float* p, std::int64_t n) {
#if PROTALBERT_LANES == 16
    return reinterpret_cast<Floats>(_mm512_maskz_loadu_ps(static_cast<__mmask16>((1U << n) - 1U), p));
#else
    Floats x{};
    for (int i = 0; i < lanes; ++i) {
        if (i < n) x[i] = p[i];
    }
    return x;
#endif
}

/// Stores the first n < lanes elements.
PROTALBERT_INLINE void store_part(float* p, Floats x, std::int64_t n) {
#if PROTALBERT_LANES == 16
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1U << n) - 1U), reinterpret_cast<__m512>(x));
#else
    for (int i = 0; i < lanes; ++i) {
        if (i < n) p[i] = x[i];
    }
#endif
}

/// The first `lanes / 2` elements as doubles.
PROTALBERT_INLINE Doubles load_doubles(const float* p) {
    return __builtin_convertvector(static_cast<HalfFloats>(*reinterpret_cast<const LooseHalfFloats*>(p)), Doubles);
}

/// The larger of each pair; b where either is NaN.
PROTALBERT_INLINE Floats larger(Floats a, Floats b) { return a > b ? a : b; }
/// The smaller of each pair; b where either is NaN.
PROTALBERT_INLINE Floats smaller(Floats a, Floats b) { return a < b ? a : b; }
PROTALBERT_INLINE Floats magnitude(Floats x) { return as_floats(as_ints(x) & 0x7fffffff); }

/// Sum of the elements, in a fixed order.
PROTALBERT_INLINE float sum_of(Floats x) {
    for (int width = lanes / 2; width > 0; width /= 2) x += shuffle(x, lane_numbers() ^ width);
    return x[0];
}
PROTALBERT_INLINE double sum_of_doubles(Doubles x) {
    double sum = 0;
    for (int i = 0; i < lanes / 2; ++i) sum += x[i];
    return sum;
}
PROTALBERT_INLINE float largest_of(Floats x) {
    for (int width = lanes / 2; width > 0; width /= 2) x = larger(x, shuffle(x, lane_numbers() ^ width));
    return x[0];
}

/// 1 / x to 1 ulp or so, for positive normal x whose reciprocal is normal.
PROTALBERT_INLINE Floats reciprocal(Floats x) {
#if PROTALBERT_LANES == 16
    // A division of 16 floats takes up to 24 cycles, and the instruction for an estimate gives other bits on a
    // processor of another maker. The exponent's bits give one with a relative error of 5e-2; three Newton steps square
    // it thrice.
    Floats estimate = as_floats(0x7ef311c3 - as_ints(x));
    for (int step = 0; step < 3; ++step)
        estimate = multiply_add(estimate, multiply_add(-x, estimate, all(1.0F)), estimate);
    return estimate;
#else
    return 1.0F / x;
#endif
}

PROTALBERT_INLINE Floats square_root(Floats x) {
#if PROTALBERT_LANES == 16
    return reinterpret_cast<Floats>(_mm512_maskz_sqrt_ps(0xffff, reinterpret_cast<__m512>(x)));
#elif PROTALBERT_LANES == 8
    return reinterpret_cast<Floats>(_mm256_sqrt_ps(reinterpret_cast<__m256>(x)));
#else
    for (int i = 0; i < lanes; ++i) x[i] = __builtin_sqrtf(x[i]);
    return x;
#endif
}

/// 1.5 * 2^23: adding it to |x| < 2^22 rounds x to an integer, which the low bits of the sum then hold.
constexpr float rounder = 12582912.0F;

/// 2^f 2^n for |f| <= 1/2, shifted = n + rounder: minimax polynomial of 2^f (Remez; relative error 1.9e-9).
PROTALBERT_INLINE Floats power_of_two(Floats f, Floats shifted) {
    Floats p = all(1.534581205e-4F);
    p = p * f + 1.339993122e-3F;
    p = p * f + 9.618488957e-3F;
    p = p * f + 5.550328777e-2F;
    p = p * f + 2.402264689e-1F;
    p = p * f + 6.931472057e-1F;
    p = p * f + 1.0F;
    // Unsigned: elements behind the last one may hold anything, and signed sums must not overflow.
    return reinterpret_cast<Floats>(reinterpret_cast<Bits>(p) + (reinterpret_cast<Bits>(shifted) << 23));
}

/// 2^x, relative error below 1.5e-7; 0 below -126 (no denormal numbers), meaningless above 127.5, NaN for NaN.
PROTALBERT_INLINE Floats exp2(Floats x) {
    const Floats bounded = larger(all(-126.0F), x);
    const Floats shifted = bounded + rounder;
    const Floats result = power_of_two(bounded - (shifted - rounder), shifted);
    return x < -126.0F ? Floats{} : result;
}

constexpr float log2_e = 1.44269504088896340736F;
constexpr float ln_2 = 0.69314718055994530942F;

/// e^x, relative error below 2e-7; 0 below -87.3, meaningless above 88, NaN for NaN. Reduction as in Cephes' expf: ln 2
/// in two parts, the first so short that its product with an integer is exact.
PROTALBERT_INLINE Floats exp(Floats x) {
    const Floats bounded = larger(all(-87.3F), x);
    const Floats shifted = bounded * log2_e + rounder;
    const Floats n = shifted - rounder;
    const Floats rest = bounded - n * 0.693359375F + n * 2.12194440e-4F;
    const Floats result = power_of_two(rest * log2_e, shifted);
    return x < -87.3F ? Floats{} : result;
}

/// tanh, relative error below 3e-7. Below 0.625 the polynomial of Cephes' tanhf, above by the exponential.
PROTALBERT_INLINE Floats tanh(Floats x) {
    const Floats size = magnitude(x);
    const Floats z = x * x;
    Floats p = all(-5.70498872745e-3F);
    p = p * z + 2.06390887954e-2F;
    p = p * z - 5.37397155531e-2F;
    p = p * z + 1.33314422036e-1F;
    p = p * z - 3.33332819422e-1F;
    const Floats near = p * z * x + x;
    const Floats far = 1.0F - 2.0F * reciprocal(exp(smaller(all(40.0F), 2.0F * size)) + 1.0F);
    const Floats signed_far = as_floats(as_ints(far) | (as_ints(x) & all_ints(INT32_MIN)));
    return size < 0.625F ? near : signed_far;
}

/// Beyond this size both forms of the GELU are 0 or x, and their derivative 0 or 1, to the last bit of float32.
constexpr float gelu_limit = 15.0F;

/// For y = |x| <= gelu_limit: tail = Phi(-y), the normal distribution's, and density = exp(-y^2 / 2).
/// tail / density = erfcx(y / sqrt 2) / 2 is smooth: a minimax polynomial in 1 / (1 + y / 4) on [0, 14] (Remez;
/// relative error 1.5e-8), so the tail keeps its relative accuracy.
PROTALBERT_INLINE Floats normal_tail(Floats y, Floats& density) {
    const Floats t = reciprocal(1.0F + 0.25F * y);
    Floats p = all(3.3946663899897374e-2F);
    p = p * t - 1.9617701896993678e-1F;
    p = p * t + 3.9500075358935930e-1F;
    p = p * t - 3.3346838892527530e-1F;
    p = p * t + 3.0448619463384313e-1F;
    p = p * t - 2.0383705181356796e-2F;
    p = p * t + 1.2156782291119457e-1F;
    p = p * t + 9.4820275205318830e-2F;
    p = p * t + 1.0022899259370876e-1F;
    p = p * t - 2.1599952151069433e-5F;
    density = exp(-0.5F * y * y);
    return p * density;
}

/// 0.5 x (1 + erf(x / sqrt 2)) = x Phi(x).
PROTALBERT_INLINE Floats gelu_erf(Floats x) {
    Floats density;
    const Floats tail = normal_tail(smaller(all(gelu_limit), magnitude(x)), density);
    return x * (x < 0.0F ? tail : 1.0F - tail);
}

/// Phi(x) + x density(x).
PROTALBERT_INLINE Floats gelu_erf_derivative(Floats x) {
    const Floats bounded = smaller(all(gelu_limit), larger(all(-gelu_limit), x));
    Floats density;
    const Floats tail = normal_tail(magnitude(bounded), density);
    return (x < 0.0F ? tail : 1.0F - tail) + bounded * density * 3.98942280401e-1F;  // 1 / sqrt(2 pi)
}

/// With u = sqrt(2 / pi) (x + 0.044715 x^3): (1 + tanh u) / 2 = 1 / (1 + e^-2u), without cancellation.
/// Returns e^-2u for |x| <= gelu_limit.
PROTALBERT_INLINE Floats gelu_tanh_exponential(Floats x) {
    const float a = -2.30220819813F;  // -2 sqrt(2 / pi) log2(e)
    const float b = 0.044715F;
    return exp2(smaller(all(126.0F), a * (x + b * x * x * x)));
}

/// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
PROTALBERT_INLINE Floats gelu_tanh(Floats x) {
    const Floats bounded = smaller(all(gelu_limit), larger(all(-gelu_limit), x));
    return x * reciprocal(1.0F + gelu_tanh_exponential(bounded));
}

/// s + 2 x s (1 - s) u' with s = 1 / (1 + e^-2u).
PROTALBERT_INLINE Floats gelu_tanh_derivative(Floats x) {
    const Floats bounded = smaller(all(gelu_limit), larger(all(-gelu_limit), x));
    const Floats e = gelu_tanh_exponential(bounded);
    const Floats s = reciprocal(1.0F + e);
    const float slope = 1.59576912161F;  // 2 sqrt(2 / pi)
    const float cubic = 0.134145F;       // 3 * 0.044715
    return s + bounded * s * (e * s) * (slope * (1.0F + cubic * bounded * bounded));
}

/// The rows of a square of lanes x lanes become its columns: log2(lanes) rounds of exchanging halves.
PROTALBERT_INLINE void transpose(Floats* rows) {
#pragma GCC unroll 4
    for (int width = 1; width < lanes; width *= 2) {
        Ints low = lane_numbers();
        Ints high = lane_numbers();
        for (int i = 0; i < lanes; ++i) {
            low[i] = (i & width) == 0 ? i : lanes + i - width;
            high[i] = (i & width) == 0 ? i + width : lanes + i;
        }
#pragma GCC unroll 16
        for (int r = 0; r < lanes; ++r) {
            if ((r & width) != 0) continue;
            const Floats a = rows[r];
            const Floats b = rows[r + width];
            rows[r] = shuffle(a, b, low);
            rows[r + width] = shuffle(a, b, high);
        }
    }
}
