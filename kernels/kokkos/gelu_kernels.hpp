// Both forms of the GELU and the gradient behind it (included by the kernels of products and of elements).

template <Gelu form>
PROTALBERT_INLINE Floats gelu(Floats x) {
    return form == Gelu::erf ? gelu_erf(x) : gelu_tanh(x);
}

template <Gelu form>
PROTALBERT_INLINE Floats gelu_derivative(Floats x) {
    return form == Gelu::erf ? gelu_erf_derivative(x) : gelu_tanh_derivative(x);
}

/// dx [rows, columns] = dy gelu'(x); the strides are between rows. dx may be x or dy.
template <Gelu form>
static void times_gelu_derivative(float* dx, std::int64_t dx_stride, const float* dy, std::int64_t dy_stride,
                                  const float* x, std::int64_t x_stride, std::int64_t rows, std::int64_t columns) {
    for (std::int64_t r = 0; r < rows; ++r) {
        float* const to = dx + r * dx_stride;
        const float* const gradient = dy + r * dy_stride;
        const float* const from = x + r * x_stride;
        std::int64_t n = 0;
        for (; n + lanes <= columns; n += lanes) {
            store(to + n, load(gradient + n) * gelu_derivative<form>(load(from + n)));
        }
        if (n < columns) {
            const Floats part = load_part(gradient + n, columns - n);
            store_part(to + n, part * gelu_derivative<form>(load_part(from + n, columns - n)), columns - n);
        }
    }
}
static constexpr auto times_gelu_erf_derivative = times_gelu_derivative<Gelu::erf>;
static constexpr auto times_gelu_tanh_derivative = times_gelu_derivative<Gelu::tanh>;
