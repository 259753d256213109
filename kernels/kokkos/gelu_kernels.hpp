// Both forms of the GELU and the gradient behind it (included by the kernels of products and of elements).

template <Gelu form>
PROTALBERT_INLINE Floats gelu(Floats x) {
    return form == Gelu::erf ? gelu_erf(x) : gelu_tanh(x);
}

template <Gelu form>
PROTALBERT_INLINE Floats gelu_derivative(Floats x) {
    return form == Gelu::erf ? gelu_erf_derivative(x) : gelu_tanh_derivative(x);
}

/// dx [rows, columns] = dy gelu'(x), sums [columns] (null: none) += its column sums; the strides are between rows. dx
/// may be x or dy.
template <Gelu form>
static void times_gelu_derivative(float* dx, std::int64_t dx_stride, float* sums, const float* dy,
                                  std::int64_t dy_stride, const float* x, std::int64_t x_stride, std::int64_t rows,
                                  std::int64_t columns) {
    for (std::int64_t r = 0; r < rows; ++r) {
        float* const to = dx + r * dx_stride;
        const float* const gradient = dy + r * dy_stride;
        const float* const from = x + r * x_stride;
        std::int64_t n = 0;
        for (; n + lanes <= columns; n += lanes) {
            const Floats result = load(gradient + n) * gelu_derivative<form>(load(from + n));
            store(to + n, result);
            if (sums != nullptr) store(sums + n, load(sums + n) + result);
        }
        if (n < columns) {
            const std::int64_t rest = columns - n;
            const Floats result = load_part(gradient + n, rest) * gelu_derivative<form>(load_part(from + n, rest));
            store_part(to + n, result, rest);
            if (sums != nullptr) store_part(sums + n, load_part(sums + n, rest) + result, rest);
        }
    }
}
static constexpr auto times_gelu_erf_derivative = times_gelu_derivative<Gelu::erf>;
static constexpr auto times_gelu_tanh_derivative = times_gelu_derivative<Gelu::tanh>;
