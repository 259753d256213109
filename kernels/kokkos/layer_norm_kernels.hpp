// Layer norm of one row (included by layer_norm.cpp and embedding.cpp for each instruction set).

/// s [N] = branch + residual (null: 0), y [N] = (s - mean) rstd gamma + beta. y may be any of the other three.
/// mean and rstd [1] are given out unless null.
static void layer_norm_row(float* y, float* mean, float* rstd, float* s, const float* branch, const float* residual,
                           const float* gamma, const float* beta, double epsilon, std::int64_t N) {
    Floats sums{};
    float sum_rest = 0;
    std::int64_t n = 0;
    for (; n + lanes <= N; n += lanes) {
        const Floats x = residual == nullptr ? load(branch + n) : load(branch + n) + load(residual + n);
        store(s + n, x);
        sums += x;
    }
    for (; n < N; ++n) sum_rest += s[n] = residual == nullptr ? branch[n] : branch[n] + residual[n];
    const float average = (sum_of(sums) + sum_rest) / static_cast<float>(N);

    // Another pass over the row, which is in the cache: the variance as E[x^2] - E[x]^2 would cancel.
    Floats squares{};
    float square_rest = 0;
    for (n = 0; n + lanes <= N; n += lanes) {
        const Floats centred = load(s + n) - average;
        squares += centred * centred;
    }
    for (; n < N; ++n) square_rest += (s[n] - average) * (s[n] - average);
    const double variance = static_cast<double>(sum_of(squares) + square_rest) / static_cast<double>(N);
    const auto inverse = static_cast<float>(1 / std::sqrt(variance + epsilon));

    for (n = 0; n + lanes <= N; n += lanes) {
        store(y + n, (load(s + n) - average) * inverse * load(gamma + n) + load(beta + n));
    }
    for (; n < N; ++n) y[n] = (s[n] - average) * inverse * gamma[n] + beta[n];
    if (mean != nullptr) {
        *mean = average;
        *rstd = inverse;
    }
}
