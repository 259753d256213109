// Rows and activations (included by elementwise.cpp for each instruction set).

#include "kernels/kokkos/gelu_kernels.hpp"

/// y [n] += x.
static void add_elements(float* y, const float* x, std::int64_t n) {
    std::int64_t i = 0;
    for (; i + lanes <= n; i += lanes) store(y + i, load(y + i) + load(x + i));
    for (; i < n; ++i) y[i] += x[i];
}

/// y [n] = tanh(x); y may be x.
static void tanh_of_elements(float* y, const float* x, std::int64_t n) {
    std::int64_t i = 0;
    for (; i + lanes <= n; i += lanes) store(y + i, tanh(load(x + i)));
    if (i < n) store_part(y + i, tanh(load_part(x + i, n - i)), n - i);
}

/// dx [n] = dy (1 - y^2); dx may be dy.
static void tanh_backward_of_elements(float* dx, const float* dy, const float* y, std::int64_t n) {
    std::int64_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        const Floats value = load(y + i);
        store(dx + i, load(dy + i) * (1.0F - value * value));
    }
    for (; i < n; ++i) dx[i] = dy[i] * (1 - y[i] * y[i]);
}
