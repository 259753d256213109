// Updates of a piece of one variable (included by optimizers.cpp for each instruction set).

/// Vectors that are added up in float32 before their sum goes on in float64: few enough that float32 loses nothing that
/// the trust ratio could tell.
constexpr std::int64_t block_vectors = 64;

/// Moments and updates of n elements: gradient * clip -> m, v and, over the gradient, u = m / (sqrt(v) + epsilon) +
/// decay w. Returns the sums of w^2 and u^2.
static SquareSums update_moments(float* m, float* v, float* gradient, const float* w, const MomentStep& step,
                                 std::int64_t n) {
    const auto update = [&](Floats& m_i, Floats& v_i, Floats g, Floats w_i) {
        g *= step.clip;
        m_i = step.beta1 * m_i + step.rest1 * g;
        v_i = step.beta2 * v_i + step.rest2 * (g * g);
        return m_i / (square_root(v_i) + step.epsilon) + step.decay * w_i;
    };
    SquareSums sums{0, 0};
    std::int64_t i = 0;
    while (i + lanes <= n) {
        Floats w_squares{};
        Floats u_squares{};
        for (std::int64_t vector = 0; vector < block_vectors && i + lanes <= n; ++vector, i += lanes) {
            Floats m_i = load(m + i);
            Floats v_i = load(v + i);
            const Floats w_i = load(w + i);
            const Floats u = update(m_i, v_i, load(gradient + i), w_i);
            store(m + i, m_i);
            store(v + i, v_i);
            store(gradient + i, u);
            w_squares += w_i * w_i;
            u_squares += u * u;
        }
        sums.w += sum_of(w_squares);
        sums.u += sum_of(u_squares);
    }
    if (i < n) {
        Floats m_i = load_part(m + i, n - i);
        Floats v_i = load_part(v + i, n - i);
        const Floats w_i = load_part(w + i, n - i);
        const Floats u = update(m_i, v_i, load_part(gradient + i, n - i), w_i);
        store_part(m + i, m_i, n - i);
        store_part(v + i, v_i, n - i);
        store_part(gradient + i, u, n - i);
        sums.w += sum_of(w_i * w_i);
        sums.u += sum_of(u * u);  // behind the last element m and w are 0, hence u
    }
    return sums;
}

/// w [n] -= rate u.
static void subtract_scaled(float* w, const float* u, float rate, std::int64_t n) {
    std::int64_t i = 0;
    for (; i + lanes <= n; i += lanes) store(w + i, load(w + i) - rate * load(u + i));
    for (; i < n; ++i) w[i] -= rate * u[i];
}

/// Sum of x[i]^2 in float64, in a fixed order.
static double squares_of(const float* x, std::int64_t n) {
    constexpr std::int64_t half = lanes / 2;
    Doubles sums[4] = {};  // independent ones: an addition takes several cycles
    std::int64_t i = 0;
    for (; i + 4 * half <= n; i += 4 * half) {
        for (int k = 0; k < 4; ++k) {
            const Doubles value = load_doubles(x + i + k * half);
            sums[k] += value * value;
        }
    }
    double rest = 0;
    for (; i < n; ++i) rest += static_cast<double>(x[i]) * x[i];
    return sum_of_doubles((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest;
}
