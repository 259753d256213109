// Classification and pooling of a backend against the double-precision reference.

#include "tests/kernels/tensors.hpp"

namespace protalbert {
namespace {

struct Case {
    Index M, C, K;
};
const std::vector<Case> cases{{0, 34, 12}, {1, 2, 20}, {3, 34, 48}, {130, 34, 128}, {517, 7, 16}, {17, 1000, 64}};

/// A product and a softmax in float32.
constexpr double loss_tolerance = 4e-6;

std::vector<std::int32_t> some_labels(const Case& c) {
    std::vector<std::int32_t> labels = random_ids(c.M, static_cast<std::int32_t>(c.C), 5);
    for (std::size_t m = 2; m < labels.size(); m += 5) labels[m] = -1;
    return labels;
}

TEST(Classify, LossAndGradient) {
    const auto backend = test_backend();
    for (const Case& c : cases) {
        SCOPED_TRACE(testing::Message() << c.M << " x " << c.C << " x " << c.K);
        Vector x = random_values(c.M * c.K, 1, 1), w = random_values(c.C * c.K, 0.3, 2);
        const Vector bias = random_values(c.C, 1, 3);
        const std::vector<std::int32_t> labels = some_labels(c);
        Tensor x_device(*backend, x), w_device(*backend, w), dlogits(*backend, c.M * c.C);
        const auto bias_device = float_input(*backend, bias);
        const Input<std::int32_t> labels_device(*backend, labels);
        Guarded<LossSums> sums(*backend, {{3.0, 5}});
        const auto want = reference::classify(reference::linear(x, w, bias, c.M, c.C, c.K), labels, 0.125, c.C);
        backend->classify(sums.device(), dlogits.activations(), x_device.activations(), w_device.activations(),
                          bias_device.device(), labels_device.device(), 0.125, c.M, c.C, c.K, {});
        EXPECT_NEAR(sums.host()[0].loss, want.loss + 3, tolerance(*backend, loss_tolerance) * (want.loss + 3));
        EXPECT_EQ(sums.host()[0].correct, want.correct + 5);
        expect_close(dlogits.host(), want.dlogits, tolerance(*backend, loss_tolerance), "dlogits");
        backend->classify(sums.device(), {}, x_device.activations(), w_device.activations(), bias_device.device(),
                          labels_device.device(), 0.125, c.M, c.C, c.K, {});
        EXPECT_NEAR(sums.host()[0].loss, 2 * want.loss + 3, tolerance(*backend, loss_tolerance) * (2 * want.loss + 3));
        EXPECT_EQ(sums.host()[0].correct, 2 * want.correct + 5);
    }
}

/// classify without its product: the same of logits that are given, also over them.
TEST(CrossEntropy, LossAndGradientOfGivenLogits) {
    const auto backend = test_backend();
    for (const Case& c : cases) {
        SCOPED_TRACE(testing::Message() << c.M << " x " << c.C);
        Vector logits = random_values(c.M * c.C, 2, 1);
        const std::vector<std::int32_t> labels = some_labels(c);
        Tensor logits_device(*backend, logits), dlogits(*backend, c.M * c.C);
        const Input<std::int32_t> labels_device(*backend, labels);
        Guarded<LossSums> sums(*backend, {{3.0, 5}});
        const auto want = reference::classify(logits, labels, 0.125, c.C);
        backend->cross_entropy(sums.device(), {}, logits_device.activations(), labels_device.device(), 0.125, c.M, c.C,
                               {});
        EXPECT_NEAR(sums.host()[0].loss, want.loss + 3, tolerance(*backend, loss_tolerance) * (want.loss + 3));
        EXPECT_EQ(sums.host()[0].correct, want.correct + 5);
        backend->cross_entropy(sums.device(), dlogits.activations(), logits_device.activations(),
                               labels_device.device(), 0.125, c.M, c.C, {});
        expect_close(dlogits.host(), want.dlogits, tolerance(*backend, loss_tolerance), "dlogits");
        const Activations both = logits_device.changeable().activations();
        backend->cross_entropy(sums.device(), both, both, labels_device.device(), 0.125, c.M, c.C, {});
        expect_close(logits_device.host(), want.dlogits, tolerance(*backend, loss_tolerance), "dlogits over logits");
        EXPECT_EQ(sums.host()[0].correct, 3 * want.correct + 5);
    }
}

/// Logits of +-2^13, which bfloat16 has, too: a loss of 2^14, a gradient of exactly one-hot, no overflow.
TEST(Classify, LargeLogits) {
    const auto backend = test_backend();
    Vector x{1, -1}, w{0x1p13, -0x1p13};
    Tensor x_device(*backend, x), w_device(*backend, w), dlogits(*backend, 4);
    const auto bias = float_input(*backend, {0, 0});
    const Input<std::int32_t> labels(*backend, {0, 0});
    Guarded<LossSums> sums(*backend, {{0.0, 0}});
    backend->classify(sums.device(), dlogits.activations(), x_device.activations(), w_device.activations(),
                      bias.device(), labels.device(), 1, 2, 2, 1, {});
    EXPECT_NEAR(sums.host()[0].loss, 0x1p14, tolerance(*backend, 1e-6) * 0x1p14);
    EXPECT_EQ(sums.host()[0].correct, 1);
    expect_close(dlogits.host(), {0, 0, -1, 1}, 1e-6, "dlogits");
}

TEST(Classify, NotANumberReachesTheLoss) {
    const auto backend = test_backend();
    Vector x{NAN, 1}, w{1, 2, 3};
    Tensor x_device(*backend, x), w_device(*backend, w), dlogits(*backend, 6);
    x_device.changeable();
    const auto bias = float_input(*backend, {0, 0, 0});
    const Input<std::int32_t> labels(*backend, {2, 2});
    Guarded<LossSums> sums(*backend, {{0.0, 0}});
    backend->classify(sums.device(), dlogits.activations(), x_device.activations(), w_device.activations(),
                      bias.device(), labels.device(), 1, 2, 3, 1, {});
    EXPECT_TRUE(std::isnan(sums.host()[0].loss));
    EXPECT_EQ(sums.host()[0].correct, 1) << "a row of NaN is not correct";
    EXPECT_TRUE(std::isnan(dlogits.host()[0]));
    EXPECT_FALSE(std::isnan(dlogits.host()[3]));
}

TEST(Classify, SameBitsForAllThreadCounts) {
    const Case c{1200, 34, 48};
    Vector x = random_values(c.M * c.K, 1, 1), w = random_values(c.C * c.K, 0.3, 2);
    const std::vector<std::int32_t> label_values = some_labels(c);
    expect_same_for_all_thread_counts([&](Backend& backend) {
        Tensor x_device(backend, x), w_device(backend, w), dlogits(backend, c.M * c.C);
        const auto bias = float_input(backend, random_values(c.C, 1, 3));
        const Input<std::int32_t> labels(backend, label_values);
        Guarded<LossSums> sums(backend, {{0.0, 0}});
        backend.classify(sums.device(), dlogits.activations(), x_device.activations(), w_device.activations(),
                         bias.device(), labels.device(), 1, c.M, c.C, c.K, {});
        Vector all = dlogits.host();
        all.push_back(sums.host()[0].loss);
        return all;
    });
}

/// Two sequences with residues around some with none.
const std::vector<Index> lengths{5, 2, 130, 1, 0, 3};

TEST(Pooling, ResiduesMeansAndFirstRows) {
    const auto backend = test_backend();
    for (const Index H : {1, 12, 20, 48, 256}) {
        SCOPED_TRACE(testing::Message() << "H " << H);
        const Sequences sequences(*backend, lengths);
        const std::vector<Index>& offsets = sequences.offsets();
        Vector in = random_values(offsets.back() * H, 1, 1), residues, means, firsts;
        Tensor in_device(*backend, in);
        for (std::size_t s = 0; s < lengths.size(); ++s) {
            for (Index t = offsets[s] + 1; t < offsets[s + 1] - 1; ++t) {
                for (Index h = 0; h < H; ++h) residues.push_back(in[reference::at(t, H, h)]);
            }
            for (Index h = 0; h < H; ++h) {
                double sum = 0;
                for (Index t = offsets[s] + 1; t < offsets[s + 1] - 1; ++t) sum += in[reference::at(t, H, h)];
                means.push_back(lengths[s] > 2 ? sum / static_cast<double>(lengths[s] - 2) : NAN);
                firsts.push_back(lengths[s] > 0 ? in[reference::at(offsets[s], H, h)] : NAN);
            }
        }
        Guarded<float> out(*backend, std::vector<float>(residues.size(), NAN));
        backend->extract_residues(out.device(), OutputType::float32, in_device.activations(), sequences.packed(), H,
                                  {});
        EXPECT_EQ(to_doubles(out.host()), residues);
        Guarded<float> mean(*backend, std::vector<float>(means.size(), 0)), first(*backend, mean.host());
        backend->mean_residues(mean.device(), in_device.activations(), sequences.packed(), H, {});
        // The sum of at most 128 rows, in float32 or better.
        expect_close(to_doubles(mean.host()), means, 2e-6, "means");
        backend->first_rows(first.device(), in_device.activations(), sequences.packed(), H, {});
        expect_close(to_doubles(first.host()), firsts, 0, "first rows");
    }
    const Sequences none(*backend, {});
    Tensor nothing(*backend, 0);
    Guarded<float> out(*backend, {});
    backend->extract_residues(out.device(), OutputType::float32, nothing.activations(), none.packed(), 12, {});
    backend->mean_residues(out.device(), nothing.activations(), none.packed(), 12, {});
    backend->first_rows(out.device(), nothing.activations(), none.packed(), 12, {});
}

double half_value(std::uint16_t half) {
    const int exponent = (half >> 10) & 31;
    const int mantissa = half & 1023;
    const double sign = (half & 0x8000) != 0 ? -1 : 1;
    if (exponent == 31) return mantissa != 0 ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * std::ldexp(mantissa, -24);
    return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

/// Round to nearest, ties to even; infinity from 65520 on; subnormals; NaN stays NaN.
TEST(Pooling, Half) {
    const auto backend = test_backend();
    if (backend->precision() != Precision::float32) GTEST_SKIP();
    std::vector<double> in{0,         -0.0,     1,    -2.5,          65504,         65519.99, 65520,  -65520,  1e9,
                           -INFINITY, NAN,      6e-8, 2.98e-8,       2.99e-8,       -6.1e-5,  6.1e-5, 1e-10,   2049,
                           2051,      0.333333, -0.1, 1.00048828125, 1.00146484375, 3.0e-5,   1e-40,  -7.7e-6, 0.5};
    for (int i = 0; i < 2000; ++i) in.push_back(static_cast<float>(std::exp(i * 0.0193 - 22) * (i % 2 == 0 ? 1 : -1)));
    const auto H = static_cast<Index>(in.size());
    const Sequences sequences(*backend, {3});
    Vector rows(static_cast<std::size_t>(3 * H), 0.0);
    for (double& value : in) value = static_cast<float>(value);
    std::copy(in.begin(), in.end(), rows.begin() + H);
    Tensor in_device(*backend, rows);
    in_device.changeable();
    Guarded<std::uint16_t> out(*backend, std::vector<std::uint16_t>(static_cast<std::size_t>(H)));
    backend->extract_residues(out.device(), OutputType::float16, in_device.activations(), sequences.packed(), H, {});
    const std::vector<std::uint16_t> got = out.host();
    for (std::size_t i = 0; i < got.size(); ++i) {
        const double value = half_value(got[i]);
        if (std::isnan(in[i])) {
            EXPECT_TRUE(std::isnan(value));
            continue;
        }
        EXPECT_EQ(std::signbit(value), std::signbit(in[i])) << in[i];
        if (std::fabs(in[i]) >= 65520) {
            EXPECT_TRUE(std::isinf(value)) << in[i];
            continue;
        }
        // No neighbouring half is nearer, and of two as near the even one is taken.
        const auto bits = static_cast<std::uint16_t>(got[i] & 0x7fff);
        const double error = std::fabs(std::fabs(value) - std::fabs(in[i]));
        for (const int step : {-1, 1}) {
            if ((step < 0 && bits == 0) || (step > 0 && bits >= 0x7bff)) continue;
            const double other = std::fabs(half_value(static_cast<std::uint16_t>(bits + step)) - std::fabs(in[i]));
            EXPECT_LE(error, other) << in[i];
            if (error == other) {
                EXPECT_EQ(bits & 1, 0) << in[i];
            }
        }
    }
}

}  // namespace
}  // namespace protalbert
