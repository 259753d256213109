// Heads of predictions on a backend: convolutions against the double-precision reference and finite differences, ReLU
// with dropout against the generator that defines it.

#include "base/random.hpp"
#include "tests/kernels/tensors.hpp"

namespace protalbert {
namespace {

struct Case {
    Index W, C;
};
/// Windows and channels of both heads, one that fills vectors in part, and one wider than most sequences.
const std::vector<Case> cases{{7, 32}, {7, 3}, {1, 32}, {1, 10}, {3, 21}, {129, 5}};
/// Shorter than a window, empty ones at the ends and between, and more rows than a task has.
const std::vector<Index> lengths{0, 1, 2, 0, 3, 7, 150, 64, 1, 0};

/// At most 129 summands in float32.
constexpr double sum_tolerance = 2e-6;

TEST(WindowSum, ForwardAndBackward) {
    const auto backend = test_backend();
    const Sequences sequences(*backend, lengths);
    const Index T = sequences.offsets().back();
    for (const Case& c : cases) {
        SCOPED_TRACE(testing::Message() << "W " << c.W << ", C " << c.C);
        Vector taps = random_values(T * c.W * c.C, 1, 1), dout = random_values(T * c.C, 1, 2);
        const Vector bias = random_values(c.C, 1, 3);
        Tensor taps_device(*backend, taps), dout_device(*backend, dout);
        Tensor out(*backend, T * c.C), dtaps(*backend, T * c.W * c.C);
        const auto bias_device = float_input(*backend, bias);
        backend->window_sum(out.activations(), taps_device.activations(), bias_device.device(), sequences.packed(), c.W,
                            c.C, {});
        expect_close(out.host(), reference::window_sum(taps, bias, sequences.offsets(), c.W, c.C),
                     tolerance(*backend, sum_tolerance), "out");
        backend->window_sum_backward(dtaps.activations(), dout_device.activations(), sequences.packed(), c.W, c.C, {});
        expect_close(dtaps.host(), reference::window_sum_backward(dout, sequences.offsets(), c.W, c.C), 0, "dtaps");
    }
}

TEST(WindowSum, NothingForNoSequences) {
    const auto backend = test_backend();
    const Sequences none(*backend, {});
    Tensor out(*backend, 0), taps(*backend, 0);
    const auto bias = float_input(*backend, {1, 2, 3});
    backend->window_sum(out.activations(), taps.activations(), bias.device(), none.packed(), 7, 3, {});
    backend->window_sum_backward(taps.activations(), out.activations(), none.packed(), 7, 3, {});
}

/// The sum is linear in its taps: a difference of any size is exact but for rounding.
TEST(WindowSum, GradientMatchesDifferences) {
    const std::vector<Index> offsets{0, 2, 9};
    const Index W = 7, C = 2;
    const Vector taps = random_values(9 * W * C, 1, 1), bias = random_values(C, 1, 2),
                 dout = random_values(9 * C, 1, 3);
    const auto objective = [&](const Vector& values) {
        const Vector out = reference::window_sum(values, bias, offsets, W, C);
        double sum = 0;
        for (std::size_t i = 0; i < out.size(); ++i) sum += out[i] * dout[i];
        return sum;
    };
    const Vector gradient = reference::window_sum_backward(dout, offsets, W, C);
    for (std::size_t i = 0; i < taps.size(); ++i) {
        Vector more = taps, less = taps;
        more[i] += 0.5;
        less[i] -= 0.5;
        EXPECT_NEAR(gradient[i], objective(more) - objective(less), 1e-12) << i;
    }
}

/// A convolution as heads compute it, a product and a window sum, is the one of its definition.
TEST(WindowSum, WithAProductItIsAConvolution) {
    const auto backend = test_backend();
    const Sequences sequences(*backend, {5, 11});
    const Index T = 16, W = 7, C = 3, D = 12;
    Vector x = random_values(T * D, 1, 1), weight = random_values(W * C * D, 0.3, 2);
    const Vector bias = random_values(C, 1, 3);
    Vector want;
    for (Index t = 0; t < T; ++t) {
        const Index first = t < 5 ? 0 : 5, last = t < 5 ? 5 : 16;
        for (Index c = 0; c < C; ++c) {
            double sum = bias[static_cast<std::size_t>(c)];
            for (Index w = 0; w < W; ++w) {
                const Index from = t + w - 3;
                if (from < first || from >= last) continue;
                for (Index d = 0; d < D; ++d)
                    sum += x[reference::at(from, D, d)] * weight[reference::at(w * C + c, D, d)];
            }
            want.push_back(sum);
        }
    }
    Tensor x_device(*backend, x), weight_device(*backend, weight), taps(*backend, T * W * C), out(*backend, T * C);
    taps.changeable();
    const auto bias_device = float_input(*backend, bias);
    backend->linear(taps.activations(), x_device.activations(), weight_device.activations(), {}, T, W * C, D, {});
    backend->window_sum(out.activations(), taps.activations(), bias_device.device(), sequences.packed(), W, C, {});
    // 7 x 12 products in float32.
    expect_close(out.host(), want, tolerance(*backend, 2e-6), "out");
}

/// max(0, x), dropped as Philox says, scaled.
double relu_dropout(double x, Index row, Index n, const Dropout& dropout) {
    const auto wide = static_cast<std::uint64_t>(row);
    const std::uint32_t word =
        philox({static_cast<std::uint32_t>(n / 4), static_cast<std::uint32_t>(wide),
                static_cast<std::uint32_t>(wide >> 32), dropout.step},
               {static_cast<std::uint32_t>(dropout.seed),
                static_cast<std::uint32_t>(dropout.seed >> 32)})[static_cast<std::size_t>(n % 4)];
    if (word < dropout.probability * 0x1p32) return 0;
    return std::max(0.0, x) / (1 - dropout.probability);
}

TEST(ReluDropout, ForwardAndBackward) {
    const auto backend = test_backend();
    for (const Index N : {1, 3, 32, 37}) {
        for (const double probability : {0.0, 0.25, 0.9}) {
            SCOPED_TRACE(testing::Message() << "N " << N << ", p " << probability);
            const Index T = 41;
            const Dropout dropout{0x123456789abcdefULL, 77, probability};
            std::vector<Index> rows;
            for (Index t = 0; t < T; ++t) rows.push_back(t * 1000000007 + (Index{1} << 33));
            Vector pre = random_values(T * N, 1, 1), dout = random_values(T * N, 1, 2), want, dwant;
            pre[0] = 0;
            for (Index t = 0; t < T; ++t) {
                for (Index n = 0; n < N; ++n) {
                    const double value =
                        relu_dropout(pre[reference::at(t, N, n)], rows[static_cast<std::size_t>(t)], n, dropout);
                    want.push_back(value);
                    dwant.push_back(value != 0 ? dout[reference::at(t, N, n)] / (1 - probability) : 0);
                }
            }
            Tensor pre_device(*backend, pre), dout_device(*backend, dout), out(*backend, T * N), dpre(*backend, T * N);
            const Input<Index> rows_device(*backend, rows);
            backend->relu_dropout(out.activations(), pre_device.activations(), rows_device.device(), dropout, T, N, {});
            // One multiplication by a rounded factor.
            expect_close(out.host(), want, tolerance(*backend, 2e-7), "out");
            backend->relu_dropout_backward(dpre.activations(), dout_device.activations(), out.activations(),
                                           probability, T * N, {});
            expect_close(dpre.host(), dwant, tolerance(*backend, 2e-7), "dpre");
            const Activations pre_over = pre_device.changeable().activations();
            backend->relu_dropout(pre_over, pre_over, rows_device.device(), dropout, T, N, {});
            EXPECT_EQ(pre_device.host(), out.host()) << "in place";
            const Activations dout_over = dout_device.changeable().activations();
            backend->relu_dropout_backward(dout_over, dout_over, out.activations(), probability, T * N, {});
            EXPECT_EQ(dout_device.host(), dpre.host()) << "in place";
        }
    }
}

/// Each step and seed drops other elements, at the rate that was asked for.
TEST(ReluDropout, DropsAtItsRate) {
    const auto backend = test_backend();
    const Index T = 500, N = 32;
    std::vector<Index> rows(T);
    for (Index t = 0; t < T; ++t) rows[static_cast<std::size_t>(t)] = t;
    Vector ones(static_cast<std::size_t>(T * N), 1.0);
    Tensor pre(*backend, ones);
    const Input<Index> rows_device(*backend, rows);
    std::vector<Vector> outs;
    for (const Dropout& dropout : {Dropout{1, 1, 0.25}, Dropout{1, 2, 0.25}, Dropout{2, 1, 0.25}}) {
        Tensor out(*backend, T * N);
        backend->relu_dropout(out.activations(), pre.activations(), rows_device.device(), dropout, T, N, {});
        outs.push_back(out.host());
        const auto dropped = static_cast<double>(std::count(outs.back().begin(), outs.back().end(), 0.0));
        // Five standard deviations of 16,000 draws.
        EXPECT_NEAR(dropped / (T * N), 0.25, 5 * std::sqrt(0.25 * 0.75 / (T * N)));
    }
    EXPECT_NE(outs[0], outs[1]);
    EXPECT_NE(outs[0], outs[2]);
}

TEST(ReluDropout, NotANumberStays) {
    const auto backend = test_backend();
    Vector values{NAN, 1, -1};
    Tensor pre(*backend, values), out(*backend, 3);
    pre.changeable();
    const Input<Index> rows(*backend, {0});
    backend->relu_dropout(out.activations(), pre.activations(), rows.device(), {1, 1, 0}, 1, 3, {});
    expect_close(out.host(), {NAN, 1, 0}, 0, "out");
}

}  // namespace
}  // namespace protalbert
