// Rows, activations and memory of a backend.

#include "base/error.hpp"
#include "tests/kernels/tensors.hpp"

namespace protalbert {
namespace {

/// A few roundings of float32 beside exp, tanh and erf of 1e-7.
constexpr double element_tolerance = 1e-6;

/// Dense around zero, and far beyond where each function saturates.
Vector interesting_values() {
    Vector values;
    for (int n = -3250; n <= 3250; ++n) values.push_back(0.0037 * n);
    for (const double x : {0.0, -0.0, 1e-30, -1e-30, 1e-5, -1e-5, 20.0, -20.0, 1e4, -1e4, 3e38, -3e38}) {
        values.push_back(x);
    }
    return values;
}

/// |got - want| <= tolerance max(|want|, floor): relative where the function is not tiny.
void expect_relative(const Vector& got, const Vector& want, double tolerance, double floor, const char* what) {
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
        ASSERT_NEAR(got[i], want[i], tolerance * std::max(std::fabs(want[i]), floor)) << what << " at " << i;
    }
}

TEST(Elements, Tanh) {
    const auto backend = test_backend();
    Vector x = interesting_values();
    const auto n = static_cast<Index>(x.size());
    Tensor in(*backend, x), out(*backend, n);
    backend->tanh_forward(out.activations(), in.activations(), n, {});
    Vector want;
    for (const double value : x) want.push_back(std::tanh(value));
    expect_relative(out.host(), want, tolerance(*backend, element_tolerance), 1e-37, "tanh");
    backend->tanh_forward(in.changeable().activations(), in.activations(), n, {});
    EXPECT_EQ(in.host(), out.host()) << "in place";

    Vector y = random_values(n, 0.5, 2), dout = random_values(n, 1, 3), gradient;
    Tensor y_device(*backend, y), dout_device(*backend, dout), din(*backend, n);
    backend->tanh_backward(din.activations(), dout_device.activations(), y_device.activations(), n, {});
    for (std::size_t i = 0; i < y.size(); ++i) gradient.push_back(dout[i] * (1 - y[i] * y[i]));
    expect_close(din.host(), gradient, tolerance(*backend, element_tolerance), "tanh backward");
    backend->tanh_backward(dout_device.changeable().activations(), dout_device.activations(), y_device.activations(), n,
                           {});
    EXPECT_EQ(dout_device.host(), din.host()) << "in place";
}

TEST(Elements, GeluBackward) {
    const auto backend = test_backend();
    for (const Gelu form : {Gelu::erf, Gelu::tanh}) {
        Vector x = interesting_values();
        x.resize(x.size() - 2);  // x^3 overflows float32 at 3e38
        const auto n = static_cast<Index>(x.size());
        Vector dout = random_values(n, 1, 3), want;
        for (std::size_t i = 0; i < x.size(); ++i) want.push_back(dout[i] * reference::gelu_derivative(form, x[i]));
        Tensor pre(*backend, x), dout_device(*backend, dout), dpre(*backend, n);
        backend->gelu_backward(dpre.activations(), dout_device.activations(), pre.activations(), form, n, {});
        expect_close(dpre.host(), want, tolerance(*backend, element_tolerance), "dpre");
        backend->gelu_backward(pre.changeable().activations(), dout_device.activations(), pre.activations(), form, n,
                               {});
        EXPECT_EQ(pre.host(), dpre.host()) << "in place of pre";
        Tensor again(*backend, x);
        backend->gelu_backward(dout_device.changeable().activations(), dout_device.activations(), again.activations(),
                               form, n, {});
        EXPECT_EQ(dout_device.host(), dpre.host()) << "in place of dout";
    }
}

/// The GELU by itself: a product with the 1 x 1 identity.
TEST(Elements, GeluForward) {
    const auto backend = test_backend();
    for (const Gelu form : {Gelu::erf, Gelu::tanh}) {
        Vector x = interesting_values(), one{1};
        x.resize(x.size() - 2);
        const auto n = static_cast<Index>(x.size());
        Tensor in(*backend, x), weight(*backend, one), out(*backend, n), pre(*backend, n), inference(*backend, n);
        Vector zero{0};
        Tensor bias(*backend, zero);
        backend->linear_gelu(out.activations(), pre.activations(), in.activations(), weight.activations(),
                             bias.activations(), form, n, 1, 1, {});
        backend->linear_gelu(inference.activations(), {}, in.activations(), weight.activations(), bias.activations(),
                             form, n, 1, 1, {});
        Vector want;
        for (const double value : x) want.push_back(reference::gelu(form, value));
        // Towards -infinity the GELU is x times a tiny difference, small beside the floor of 1e-2.
        expect_relative(out.host(), want, tolerance(*backend, 2 * element_tolerance), 1e-2, "gelu");
        expect_relative(inference.host(), want, tolerance(*backend, 2 * element_tolerance), 1e-2, "gelu without pre");
    }
}

TEST(Elements, NotANumberAndInfinity) {
    const auto backend = test_backend();
    Vector x{NAN, INFINITY, -INFINITY, 1.0}, ones(4, 1.0);
    Tensor in(*backend, x), dout(*backend, ones), out(*backend, 4);
    in.changeable();
    backend->tanh_forward(out.activations(), in.activations(), 4, {});
    EXPECT_TRUE(std::isnan(out.host()[0]));
    EXPECT_EQ(out.host()[1], 1.0);
    EXPECT_EQ(out.host()[2], -1.0);
    for (const Gelu form : {Gelu::erf, Gelu::tanh}) {
        backend->gelu_backward(out.changeable().activations(), dout.activations(), in.activations(), form, 4, {});
        EXPECT_TRUE(std::isnan(out.host()[0]));
    }
}

TEST(Elements, Empty) {
    const auto backend = test_backend();
    Tensor none(*backend, 0);
    const Activations nothing = none.activations();
    backend->tanh_forward(nothing, nothing, 0, {});
    backend->tanh_backward(nothing, nothing, nothing, 0, {});
    backend->gelu_backward(nothing, nothing, nothing, Gelu::erf, 0, {});
    const Input<Index> rows(*backend, {});
    backend->gather_rows(nothing, nothing, rows.device(), 0, 12, {});
    backend->scatter_add_rows(nothing, nothing, rows.device(), 0, 12, {});
}

TEST(Rows, GatherAndScatter) {
    const auto backend = test_backend();
    for (const Index N : {1, 12, 20, 48, 1000}) {
        const Index T = 130;
        const std::vector<Index> rows{129, 0, 7, 64, 65, 3, 17};
        const auto M = static_cast<Index>(rows.size());
        const Input<Index> rows_device(*backend, rows);
        Vector in = random_values(T * N, 1, 1), add = random_values(M * N, 1, 2), want;
        Tensor in_device(*backend, in), out(*backend, M * N), add_device(*backend, add);
        backend->gather_rows(out.activations(), in_device.activations(), rows_device.device(), M, N, {});
        for (const Index row : rows) {
            for (Index n = 0; n < N; ++n) want.push_back(in[reference::at(row, N, n)]);
        }
        EXPECT_EQ(out.host(), want);
        backend->scatter_add_rows(in_device.changeable().activations(), add_device.activations(), rows_device.device(),
                                  M, N, {});
        for (Index m = 0; m < M; ++m) {
            for (Index n = 0; n < N; ++n)
                in[reference::at(rows[reference::at(0, 0, m)], N, n)] += add[reference::at(m, N, n)];
        }
        expect_close(in_device.host(), in, tolerance(*backend, 1e-7), "scattered");
    }
}

TEST(Memory, CopiesAndZeros) {
    const auto backend = test_backend();
    const std::size_t n = 700001;  // several chunks of a parallel copy and an odd rest
    std::vector<std::int32_t> values = random_ids(static_cast<Index>(n), 1000000, 1);
    const Input<std::int32_t> from(*backend, values);
    Guarded<std::int32_t> to(*backend, std::vector<std::int32_t>(n));
    backend->copy(to.device(), from.device(), n * 4, {});
    EXPECT_EQ(to.host(), values);
    backend->set_zero(to.device(), n * 4, {});
    EXPECT_EQ(to.host(), std::vector<std::int32_t>(n));
    backend->copy(to.device(), from.device(), 0, {});
    backend->set_zero(to.device(), 0, {});
    auto* const fresh = static_cast<char*>(backend->allocate(1000));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(fresh) % 256, 0U);
    std::vector<char> bytes(1000, 'x');
    backend->download(bytes.data(), fresh, 1000, {});
    EXPECT_EQ(bytes, std::vector<char>(1000, 0));
    backend->free(fresh);
    backend->free(backend->allocate(0));
    backend->free(nullptr);
}

TEST(Memory, TooMuchIsAnErrorThatNamesTheSize) {
    const auto backend = test_backend();
    try {
        backend->allocate(std::size_t{1} << 60);
        FAIL() << "no error";
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("1152921504606846976"), std::string::npos) << error.what();
    }
}

/// Also beside another backend, as the tests of the same bits for all thread counts need it.
TEST(Devices, AsManyThreadsAsAskedFor) {
    if (on_gpu()) GTEST_SKIP() << "a GPU is not asked for threads";
    for (const int threads : {2, 1, 3}) {
        const std::string asked = ", " + std::to_string(threads) + " thread";
        EXPECT_NE(test_backend(threads)->description().find(asked), std::string::npos) << asked;
    }
}

TEST(Devices, BadRequests) {
    EXPECT_THROW(make_backend("gpu", Precision::float32, 1), InputError);
    EXPECT_THROW(make_backend("cpu", Precision::float32, -1), InputError);
    const auto backend = test_backend();
    EXPECT_FALSE(backend->description().empty());
}

}  // namespace
}  // namespace protalbert
