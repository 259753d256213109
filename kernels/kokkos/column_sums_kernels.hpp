// Column sums of a matrix (included by products.cpp for each instruction set).

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
