// Gradients of layer norm (included by layer_norm.cpp for each instruction set).

#include "kernels/kokkos/layer_norm_kernels.hpp"

/// ds [rows, N] from dout and s [rows, N], with x = (s - mean) rstd and g = dout gamma:
/// ds = rstd (g - average of g - x (average of g x)). dgamma, dbeta [N] += column sums of dout x and of dout,
/// dbias [N] (null: none) of ds. ds may be dout or s.
static void layer_norm_backward_rows(float* ds, float* dgamma, float* dbeta, float* dbias, const float* dout,
                                     const float* s, const float* mean, const float* rstd, const float* gamma,
                                     std::int64_t rows, std::int64_t N) {
    for (std::int64_t r = 0; r < rows; ++r) {
        const float* const dy = dout + r * N;
        const float* const row = s + r * N;
        const float centre = mean[r];
        const float scale = rstd[r];
        Floats sums{};
        Floats products{};
        float sum_rest = 0;
        float product_rest = 0;
        std::int64_t n = 0;
        for (; n + lanes <= N; n += lanes) {
            const Floats g = load(dy + n) * load(gamma + n);
            sums += g;
            products += g * ((load(row + n) - centre) * scale);
        }
        for (; n < N; ++n) {
            const float g = dy[n] * gamma[n];
            sum_rest += g;
            product_rest += g * ((row[n] - centre) * scale);
        }
        const float average = (sum_of(sums) + sum_rest) / static_cast<float>(N);
        const float product = (sum_of(products) + product_rest) / static_cast<float>(N);
        float* const to = ds + r * N;
        for (n = 0; n + lanes <= N; n += lanes) {
            const Floats dy_n = load(dy + n);
            const Floats x = (load(row + n) - centre) * scale;
            store(dgamma + n, load(dgamma + n) + dy_n * x);
            store(dbeta + n, load(dbeta + n) + dy_n);
            const Floats result = scale * (dy_n * load(gamma + n) - average - x * product);
            store(to + n, result);
            if (dbias != nullptr) store(dbias + n, load(dbias + n) + result);
        }
        for (; n < N; ++n) {
            const float dy_n = dy[n];
            const float x = (row[n] - centre) * scale;
            dgamma[n] += dy_n * x;
            dbeta[n] += dy_n;
            to[n] = scale * (dy_n * gamma[n] - average - x * product);
            if (dbias != nullptr) dbias[n] += to[n];
        }
    }
}
