// Rows of window sums and of ReLU with dropout (included by convolution.cpp for each instruction set).

/// y [C] = bias + sum over w of taps [t + w - W / 2, w] for rows in [first, last); taps [T, W, C].
static void window_sum_row(float* y, const float* taps, const float* bias, std::int64_t t, std::int64_t first,
                           std::int64_t last, std::int64_t W, std::int64_t C) {
    const std::int64_t begin = std::max<std::int64_t>(0, first - t + W / 2);
    const std::int64_t end = std::min(W, last - t + W / 2);
    const auto tap = [&](std::int64_t w) { return taps + ((t + w - W / 2) * W + w) * C; };
    std::int64_t c = 0;
    for (; c + lanes <= C; c += lanes) {
        Floats sum = load(bias + c);
        for (std::int64_t w = begin; w < end; ++w) sum += load(tap(w) + c);
        store(y + c, sum);
    }
    for (; c < C; ++c) {
        float sum = bias[c];
        for (std::int64_t w = begin; w < end; ++w) sum += tap(w)[c];
        y[c] = sum;
    }
}

/// y [N] = max(0, x) scale, 0 where the words drop it; y may be x. NaN stays NaN.
static void relu_dropout_row(float* y, const float* x, std::uint64_t row, const DropoutWords& words, std::int64_t N) {
    for (std::int64_t n = 0; n < N; n += 4) {
        std::array<std::uint32_t, 4> random{~0U, ~0U, ~0U, ~0U};
        if (words.below > 0)
            random = philox({static_cast<std::uint32_t>(n / 4), static_cast<std::uint32_t>(row),
                             static_cast<std::uint32_t>(row >> 32), words.step},
                            words.key);
        for (std::int64_t i = n; i < std::min(n + 4, N); ++i)
            y[i] = x[i] <= 0 || random[static_cast<std::size_t>(i - n)] < words.below ? 0 : x[i] * words.scale;
    }
}

/// dx [n] = dy scale where y is not 0, else 0; dx may be dy.
static void scaled_where_not_zero(float* dx, const float* dy, const float* y, float scale, std::int64_t n) {
    std::int64_t i = 0;
    for (; i + lanes <= n; i += lanes) store(dx + i, load(y + i) != 0.0F ? load(dy + i) * scale : Floats{});
    for (; i < n; ++i) dx[i] = y[i] != 0 ? dy[i] * scale : 0;
}
