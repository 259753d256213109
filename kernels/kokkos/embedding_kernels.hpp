// Rows of the embedding layer (included by embedding.cpp for each instruction set).

#include "kernels/kokkos/layer_norm_kernels.hpp"

/// y [E] = a + b + c.
static void add_three_rows(float* y, const float* a, const float* b, const float* c, std::int64_t E) {
    std::int64_t e = 0;
    for (; e + lanes <= E; e += lanes) store(y + e, load(a + e) + load(b + e) + load(c + e));
    for (; e < E; ++e) y[e] = a[e] + b[e] + c[e];
}

/// y [E] += x.
static void add_row(float* y, const float* x, std::int64_t E) {
    std::int64_t e = 0;
    for (; e + lanes <= E; e += lanes) store(y + e, load(y + e) + load(x + e));
    for (; e < E; ++e) y[e] += x[e];
}
