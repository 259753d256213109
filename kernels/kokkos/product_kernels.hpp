// What happens to a tile of a product while it is in the cache (included by products.cpp for each instruction set).

#include "kernels/kokkos/gelu_kernels.hpp"

/// y [rows, columns] += bias [columns].
static void add_bias(float* y, std::int64_t stride, const float* bias, std::int64_t rows, std::int64_t columns) {
    for (std::int64_t r = 0; r < rows; ++r) {
        float* const row = y + r * stride;
        std::int64_t n = 0;
        for (; n + lanes <= columns; n += lanes) store(row + n, load(row + n) + load(bias + n));
        for (; n < columns; ++n) row[n] += bias[n];
    }
}

/// x [rows, columns] is a product. x += bias (null: none), y = gelu(x); y may be x.
template <Gelu form>
static void add_bias_and_gelu(float* y, float* x, std::int64_t stride, const float* bias, std::int64_t rows,
                              std::int64_t columns) {
    for (std::int64_t r = 0; r < rows; ++r) {
        float* const from = x + r * stride;
        float* const to = y + r * stride;
        std::int64_t n = 0;
        for (; n + lanes <= columns; n += lanes) {
            const Floats sum = bias == nullptr ? load(from + n) : load(from + n) + load(bias + n);
            if (from != to) store(from + n, sum);
            store(to + n, gelu<form>(sum));
        }
        if (n < columns) {
            Floats sum = load_part(from + n, columns - n);
            if (bias != nullptr) sum += load_part(bias + n, columns - n);
            if (from != to) store_part(from + n, sum, columns - n);
            store_part(to + n, gelu<form>(sum), columns - n);
        }
    }
}
static constexpr auto add_bias_and_gelu_erf = add_bias_and_gelu<Gelu::erf>;
static constexpr auto add_bias_and_gelu_tanh = add_bias_and_gelu<Gelu::tanh>;

/// sums [N] = column sums of y [rows, N].
static void column_sums(float* sums, const float* y, std::int64_t rows, std::int64_t N) {
    // A strip of two vectors at a time would read memory in small pieces; whole rows, four at once, stream.
    std::int64_t r = 0;
    std::memset(sums, 0, static_cast<std::size_t>(N) * sizeof(float));
    for (; r + 4 <= rows; r += 4) {
        const float* const row = y + r * N;
        std::int64_t n = 0;
        for (; n + lanes <= N; n += lanes) {
            const Floats four = (load(row + n) + load(row + N + n)) + (load(row + 2 * N + n) + load(row + 3 * N + n));
            store(sums + n, load(sums + n) + four);
        }
        for (; n < N; ++n) sums[n] += (row[n] + row[N + n]) + (row[2 * N + n] + row[3 * N + n]);
    }
    for (; r < rows; ++r) {
        for (std::int64_t n = 0; n < N; ++n) sums[n] += y[r * N + n];
    }
}
