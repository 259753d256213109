// The double-precision references check themselves: their gradients against central differences.

#include <gtest/gtest.h>

#include <functional>

#include "tests/kernels/reference.hpp"
#include "tests/kernels/tensors.hpp"

namespace protalbert {
namespace {

/// Central differences in double with this step have an error of about 1e-9 for functions of size one.
constexpr double step = 1e-5;
constexpr double allowed = 1e-7;

double dot(const Vector& a, const Vector& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

void expect_gradient(const Vector& gradient, Vector x, const std::function<double(const Vector&)>& value) {
    Vector differences;
    for (double& element : x) {
        const double before = element;
        element = before + step;
        const double up = value(x);
        element = before - step;
        const double down = value(x);
        element = before;
        differences.push_back((up - down) / (2 * step));
    }
    expect_close(gradient, differences, allowed, "gradient");
}

TEST(Reference, Gelu) {
    for (const Gelu form : {Gelu::erf, Gelu::tanh}) {
        for (const double x : {-4.0, -1.0, -0.1, 0.0, 0.3, 2.0, 5.0}) {
            const double difference = (reference::gelu(form, x + step) - reference::gelu(form, x - step)) / (2 * step);
            EXPECT_NEAR(reference::gelu_derivative(form, x), difference, allowed);
        }
    }
    // Values of torch.nn.functional.gelu(1.0), both forms, to seven digits.
    EXPECT_NEAR(reference::gelu(Gelu::erf, 1.0), 0.8413447, 1e-7);
    EXPECT_NEAR(reference::gelu(Gelu::tanh, 1.0), 0.8411920, 1e-7);
}

TEST(Reference, Linear) {
    const Index T = 3, N = 4, K = 5;
    const Vector x = random_values(T * K, 1, 1), w = random_values(N * K, 1, 2), c = random_values(T * N, 1, 3);
    const Vector bias = random_values(N, 1, 4);
    expect_gradient(reference::linear_backward_data(c, w, T, N, K), x,
                    [&](const Vector& v) { return dot(reference::linear(v, w, bias, T, N, K), c); });
    expect_gradient(reference::linear_backward_weight(c, x, T, N, K), w,
                    [&](const Vector& v) { return dot(reference::linear(x, v, bias, T, N, K), c); });
    expect_gradient(reference::column_sums(c, T, N), bias,
                    [&](const Vector& v) { return dot(reference::linear(x, w, v, T, N, K), c); });
}

TEST(Reference, Attention) {
    const Index A = 2, D = 3;
    const std::vector<Index> offsets{0, 1, 1, 5};
    const Vector qkv = random_values(5 * 3 * A * D, 1, 1), c = random_values(5 * A * D, 1, 2);
    const Vector out = reference::attention_forward(qkv, offsets, A, D).out;
    expect_gradient(reference::attention_backward(c, out, qkv, offsets, A, D), qkv,
                    [&](const Vector& v) { return dot(reference::attention_forward(v, offsets, A, D).out, c); });
}

TEST(Reference, LayerNorm) {
    const Index T = 3, N = 6;
    const Vector s = random_values(T * N, 1, 1), gamma = random_values(N, 1, 2), beta = random_values(N, 1, 3);
    const Vector c = random_values(T * N, 1, 4);
    const auto gradients = reference::layer_norm_backward(c, s, gamma, 1e-12, T, N);
    expect_gradient(gradients.ds, s,
                    [&](const Vector& v) { return dot(reference::layer_norm(v, gamma, beta, 1e-12, T, N).out, c); });
    expect_gradient(gradients.dgamma, gamma,
                    [&](const Vector& v) { return dot(reference::layer_norm(s, v, beta, 1e-12, T, N).out, c); });
    expect_gradient(gradients.dbeta, beta,
                    [&](const Vector& v) { return dot(reference::layer_norm(s, gamma, v, 1e-12, T, N).out, c); });
}

TEST(Reference, Classify) {
    const Index C = 5;
    const std::vector<std::int32_t> labels{4, -1, 0};
    const Vector logits = random_values(3 * C, 2, 1);
    expect_gradient(reference::classify(logits, labels, 1, C).dlogits, logits,
                    [&](const Vector& v) { return reference::classify(v, labels, 1, C).loss; });
}

}  // namespace
}  // namespace protalbert
