// Dense layers of a backend against the double-precision reference.

#include "tests/kernels/tensors.hpp"

namespace protalbert {
namespace {

struct Shape {
    Index T, N, K;
};

/// Odd and even sizes, and some on both sides of the row tiles that a backend works in.
const std::vector<Shape> shapes{{0, 5, 7},     {1, 1, 1},       {1, 12, 20},    {3, 48, 12},
                                {17, 20, 48},  {130, 96, 33},   {130, 64, 256}, {257, 128, 64},
                                {515, 34, 96}, {700, 272, 130}, {33, 20, 300}};

/// Rounding to the nearest makes a random walk of a sum's error: of K products added one by one in float32 it deviates
/// by 0.3 x 2^-24 sqrt(K) of the sum's own size, and 2^-23 sqrt(K) is seven deviations. K is at most 700 here.
constexpr double product_tolerance = 4e-6;

/// Of a bias's gradient: float32 sums, rounded to nearest, whose errors walk at random.
double bias_gradient_tolerance(Index T) {
    return std::max(product_tolerance, std::ldexp(std::sqrt(static_cast<double>(T)), -23));
}

/// Of a weight gradient, a sum over T rows that stays float32 whatever its factors are. Tensor cores do not round to
/// the nearest when they accumulate but cut off, each of their steps of 16 rows up to 2^-23 of the sum so far and
/// always towards zero: T / 16 x 2^-23 when every step loses the most, and about a quarter of that on the average,
/// since a step loses a third of its bound on the average and the sum grows on the way. What takes 8 rows a
/// step loses twice that average, still within the bound. 1e-5 is the bound of such steps at the 700 rows of `shapes`.
double weight_gradient_tolerance(const Backend& backend, Index T) {
    const auto rows = static_cast<double>(T);
    const double rounded = bias_gradient_tolerance(T);
    if (backend.precision() == Precision::float32) return rounded;
    return std::max({rounded, 1e-5, std::ldexp(rows / 16, -23)});
}

TEST(Products, Linear) {
    const auto backend = test_backend();
    for (const auto& [T, N, K] : shapes) {
        SCOPED_TRACE(testing::Message() << T << " x " << N << " x " << K);
        Vector x = random_values(T * K, 1, 1), w = random_values(N * K, 0.2, 2), bias = random_values(N, 1, 3);
        Tensor x_device(*backend, x), w_device(*backend, w), out(*backend, T * N), unbiased(*backend, T * N);
        Tensor bias_device(*backend, bias);
        backend->linear(out.activations(), x_device.activations(), w_device.activations(), bias_device.activations(), T,
                        N, K, {});
        expect_close(out.host(), reference::linear(x, w, bias, T, N, K), tolerance(*backend, product_tolerance),
                     "linear");
        backend->linear(unbiased.activations(), x_device.activations(), w_device.activations(), {}, T, N, K, {});
        expect_close(unbiased.host(), reference::linear(x, w, {}, T, N, K), tolerance(*backend, product_tolerance),
                     "linear without bias");
    }
}

TEST(Products, LinearGelu) {
    const auto backend = test_backend();
    for (const auto& [T, N, K] : shapes) {
        for (const Gelu form : {Gelu::erf, Gelu::tanh}) {
            SCOPED_TRACE(testing::Message() << T << " x " << N << " x " << K);
            Vector x = random_values(T * K, 1, 1), w = random_values(N * K, 0.2, 2), bias = random_values(N, 1, 3);
            Tensor x_device(*backend, x), w_device(*backend, w);
            Tensor out(*backend, T * N), pre(*backend, T * N), inference(*backend, T * N);
            Tensor bias_device(*backend, bias);
            const Vector want_pre = reference::linear(x, w, bias, T, N, K);
            Vector want;
            for (const double value : want_pre) want.push_back(reference::gelu(form, value));
            backend->linear_gelu(out.activations(), pre.activations(), x_device.activations(), w_device.activations(),
                                 bias_device.activations(), form, T, N, K, {});
            expect_close(pre.host(), want_pre, tolerance(*backend, product_tolerance), "pre");
            expect_close(out.host(), want, tolerance(*backend, product_tolerance), "gelu");
            backend->linear_gelu(inference.activations(), {}, x_device.activations(), w_device.activations(),
                                 bias_device.activations(), form, T, N, K, {});
            expect_close(inference.host(), want, tolerance(*backend, product_tolerance), "gelu without pre");
        }
    }
}

/// One shape from call to call, but not one alignment: what a library chose for the first does not do for the others.
TEST(Products, AlignmentsDifferFromCallToCall) {
    const auto backend = test_backend();
    constexpr Index T = 40, N = 48, K = 64;
    Vector x = random_values(T * K, 1, 1), w = random_values(N * K, 0.2, 2);
    Tensor x_device(*backend, x), w_device(*backend, w);
    struct Offsets {
        Index bias, pre;
    };
    for (const auto& [bias_offset, pre_offset] : {Offsets{0, 0}, {8, 0}, {0, 8}, {1, 0}, {0, 1}}) {
        SCOPED_TRACE(testing::Message() << "bias from " << bias_offset << ", pre from " << pre_offset);
        Vector biases = random_values(bias_offset + N, 1, 3);
        Tensor bias_device(*backend, biases);
        Tensor plain(*backend, T * N), out(*backend, T * N), pre(*backend, pre_offset + T * N);
        const Activations bias = bias_device.activations() + bias_offset;
        backend->linear(plain.activations(), x_device.activations(), w_device.activations(), bias, T, N, K, {});
        backend->linear_gelu(out.activations(), pre.activations() + pre_offset, x_device.activations(),
                             w_device.activations(), bias, Gelu::tanh, T, N, K, {});
        const Vector want_pre = reference::linear(x, w, Vector(biases.begin() + bias_offset, biases.end()), T, N, K);
        Vector want;
        for (const double value : want_pre) want.push_back(reference::gelu(Gelu::tanh, value));
        const Vector pres = pre.host();
        expect_close(plain.host(), want_pre, tolerance(*backend, product_tolerance), "linear");
        expect_close(Vector(pres.begin() + pre_offset, pres.end()), want_pre, tolerance(*backend, product_tolerance),
                     "pre");
        expect_close(out.host(), want, tolerance(*backend, product_tolerance), "gelu");
    }
}

TEST(Products, BackwardData) {
    const auto backend = test_backend();
    for (const auto& [T, N, K] : shapes) {
        SCOPED_TRACE(testing::Message() << T << " x " << N << " x " << K);
        Vector dy = random_values(T * N, 1, 1), w = random_values(N * K, 0.2, 2), before = random_values(T * K, 1, 3);
        Tensor dy_device(*backend, dy), w_device(*backend, w), dx(*backend, T * K), sum(*backend, before);
        Vector want = reference::linear_backward_data(dy, w, T, N, K);
        backend->linear_backward_data(dx.activations(), dy_device.activations(), w_device.activations(), {}, T, N, K,
                                      {});
        expect_close(dx.host(), want, tolerance(*backend, product_tolerance), "dx");
        backend->linear_backward_data(dx.activations(), dy_device.activations(), w_device.activations(),
                                      sum.activations(), T, N, K, {});
        for (std::size_t i = 0; i < want.size(); ++i) want[i] += before[i];
        expect_close(dx.host(), want, tolerance(*backend, product_tolerance), "dx with a residual");
        backend->linear_backward_data(sum.changeable().activations(), dy_device.activations(), w_device.activations(),
                                      sum.activations(), T, N, K, {});
        expect_close(sum.host(), want, tolerance(*backend, product_tolerance), "dx over the residual");
    }
}

TEST(Products, BackwardDataGelu) {
    const auto backend = test_backend();
    std::vector<Shape> all = shapes;
    // On a GPU 70 parts of 69 rows each, of which the last has none.
    all.push_back({4761, 3, 16});
    for (const auto& [T, N, K] : all) {
        for (const Gelu form : {Gelu::erf, Gelu::tanh}) {
            SCOPED_TRACE(testing::Message() << T << " x " << N << " x " << K);
            Vector dy = random_values(T * N, 1, 1), w = random_values(N * K, 0.2, 2), pre = random_values(T * K, 1, 3);
            Tensor dy_device(*backend, dy), w_device(*backend, w), pre_device(*backend, pre), dpre(*backend, T * K);
            Vector want = reference::linear_backward_data(dy, w, T, N, K);
            for (std::size_t i = 0; i < want.size(); ++i) want[i] *= reference::gelu_derivative(form, pre[i]);
            const Vector bias_before = random_values(K, 1, 4);
            Vector want_bias = reference::column_sums(want, T, K);
            for (std::size_t i = 0; i < want_bias.size(); ++i) want_bias[i] += bias_before[i];
            Guarded<float> dbias(*backend, to_floats(bias_before));
            backend->linear_backward_data_gelu(dpre.activations(), nullptr, dy_device.activations(),
                                               w_device.activations(), pre_device.activations(), form, T, N, K, {});
            expect_close(dpre.host(), want, tolerance(*backend, product_tolerance), "dpre without dbias");
            backend->linear_backward_data_gelu(dpre.activations(), dbias.device(), dy_device.activations(),
                                               w_device.activations(), pre_device.activations(), form, T, N, K, {});
            expect_close(dpre.host(), want, tolerance(*backend, product_tolerance), "dpre");
            expect_close(to_doubles(dbias.host()), want_bias, tolerance(*backend, product_tolerance), "dbias");
            backend->linear_backward_data_gelu(pre_device.changeable().activations(), dbias.device(),
                                               dy_device.activations(), w_device.activations(),
                                               pre_device.activations(), form, T, N, K, {});
            expect_close(pre_device.host(), want, tolerance(*backend, product_tolerance), "dpre in place of pre");
        }
    }
}

/// More rows than a GPU's backend takes at a time.
TEST(Products, BackwardDataGeluInSlices) {
    const auto backend = test_backend();
    if (!on_gpu() || backend->precision() != Precision::float32) GTEST_SKIP() << "the same slices elsewhere, or none";
    constexpr Index T = 300, N = 1, K = 57000;  // 65 MiB
    Vector dy = random_values(T, 1, 1), w = random_values(K, 0.2, 2), pre, want_bias(K);
    const Vector values = random_values(1009, 1, 3), derivatives = [&] {
        Vector all;
        for (const double value : values) all.push_back(reference::gelu_derivative(Gelu::tanh, value));
        return all;
    }();
    for (Index i = 0; i < T * K; ++i) {
        const auto place = static_cast<std::size_t>(i % 1009), column = static_cast<std::size_t>(i % K);
        pre.push_back(values[place]);
        want_bias[column] += dy[static_cast<std::size_t>(i / K)] * w[column] * derivatives[place];
    }
    Tensor dy_device(*backend, dy), w_device(*backend, w), pre_device(*backend, pre);
    Guarded<float> dbias(*backend, std::vector<float>(K));
    backend->linear_backward_data_gelu(pre_device.changeable().activations(), dbias.device(), dy_device.activations(),
                                       w_device.activations(), pre_device.activations(), Gelu::tanh, T, N, K, {});
    expect_close(to_doubles(dbias.host()), want_bias, product_tolerance, "dbias");
}

TEST(Products, BackwardWeight) {
    const auto backend = test_backend();
    for (const auto& [T, N, K] : shapes) {
        SCOPED_TRACE(testing::Message() << T << " x " << N << " x " << K);
        Vector dy = random_values(T * N, 1, 1), x = random_values(T * K, 1, 2);
        const Vector weight_before = random_values(N * K, 1, 3), bias_before = random_values(N, 1, 4);
        Tensor dy_device(*backend, dy), x_device(*backend, x);
        const Vector dweight = reference::linear_backward_weight(dy, x, T, N, K);
        const Vector dbias = reference::column_sums(dy, T, N);
        for (const bool accumulate : {false, true}) {
            Guarded<float> weight(*backend, to_floats(weight_before)), bias(*backend, to_floats(bias_before));
            backend->linear_backward_weight(weight.device(), bias.device(), dy_device.activations(),
                                            x_device.activations(), accumulate, T, N, K, {});
            Vector want_weight = dweight, want_bias = dbias;
            for (std::size_t i = 0; accumulate && i < want_weight.size(); ++i) want_weight[i] += weight_before[i];
            for (std::size_t i = 0; accumulate && i < want_bias.size(); ++i) want_bias[i] += bias_before[i];
            const double tolerated = weight_gradient_tolerance(*backend, T);
            expect_close(to_doubles(weight.host()), want_weight, tolerated, "dweight");
            expect_close(to_doubles(bias.host()), want_bias, bias_gradient_tolerance(T), "dbias");
            backend->linear_backward_weight(weight.device(), nullptr, dy_device.activations(), x_device.activations(),
                                            false, T, N, K, {});
            expect_close(to_doubles(weight.host()), dweight, tolerated, "dweight alone");
        }
    }
}

/// The depth of training, where all twelve iterations of a micro-batch of 8192 tokens are one product, and a few rows
/// more: a sum that is rounded on its way to anything less than float32 shows here.
TEST(Products, BackwardWeightOverManyRows) {
    constexpr Index T = 12 * 8192 + 5, N = 16, K = 24;
    const auto backend = test_backend();
    Vector dy = random_values(T * N, 1, 1), x = random_values(T * K, 1, 2);
    Tensor dy_device(*backend, dy), x_device(*backend, x);
    Guarded<float> weight(*backend, std::vector<float>(static_cast<std::size_t>(N * K)));
    Guarded<float> bias(*backend, std::vector<float>(static_cast<std::size_t>(N)));
    backend->linear_backward_weight(weight.device(), bias.device(), dy_device.activations(), x_device.activations(),
                                    false, T, N, K, {});
    const double tolerated = weight_gradient_tolerance(*backend, T);
    expect_close(to_doubles(weight.host()), reference::linear_backward_weight(dy, x, T, N, K), tolerated, "dweight");
    expect_close(to_doubles(bias.host()), reference::column_sums(dy, T, N), bias_gradient_tolerance(T), "dbias");
}

/// A backend may keep what it makes of weights: not beyond a change of them, nor beyond their memory.
TEST(Products, WeightsThatChange) {
    const auto backend = test_backend();
    constexpr Index T = 20, N = 24, K = 40, size = N * K;
    Vector x = random_values(T * K, 1, 1), dy = random_values(T * N, 1, 2);
    Tensor x_device(*backend, x), dy_device(*backend, dy);
    const auto bytes = static_cast<std::size_t>(size) * sizeof(float);
    auto* masters = static_cast<float*>(backend->allocate(bytes));
    void* const copies = backend->allocate(static_cast<std::size_t>(size * backend->element_bytes()));
    Weight weight;
    const auto expect_products_of = [&](Vector w, const char* when) {
        round_to(*backend, w);
        // Where products read the masters themselves, what is written to them is to be seen without another call.
        if (weight.data == nullptr || weight.element_bytes != sizeof(float))
            weight = backend->compute_copy(masters, copies, size, {});
        Tensor y(*backend, T * N), dx(*backend, T * K);
        backend->linear(y.activations(), x_device.activations(), weight, {}, T, N, K, {});
        backend->linear_backward_data(dx.activations(), dy_device.activations(), weight, {}, T, N, K, {});
        expect_close(y.host(), reference::linear(x, w, {}, T, N, K), tolerance(*backend, product_tolerance), when);
        expect_close(dx.host(), reference::linear_backward_data(dy, w, T, N, K), tolerance(*backend, product_tolerance),
                     when);
    };
    const auto upload = [&](const Vector& w) {
        backend->upload(masters, to_floats(w).data(), bytes, {});
        backend->synchronize({});
    };
    upload(random_values(size, 0.2, 3));
    expect_products_of(random_values(size, 0.2, 3), "first");
    upload(random_values(size, 0.2, 4));
    expect_products_of(random_values(size, 0.2, 4), "after an upload");

    Guarded<float> gradient(*backend, to_floats(random_values(size, 1, 5)));
    Guarded<float> moments(*backend, std::vector<float>(size)), squares(*backend, std::vector<float>(size));
    OptimizerStep step;
    step.learning_rate = 0.1;
    step.clip = 0;
    backend->adamw(masters, backend->element_bytes() == 4 ? nullptr : copies, moments.device(), squares.device(),
                   gradient.device(), {{0, size, true}}, step, {});
    std::vector<float> now(size);
    backend->download(now.data(), masters, bytes, {});
    backend->synchronize({});
    EXPECT_GT(std::fabs(now[0] - random_values(size, 0.2, 4)[0]), 0.01);
    expect_products_of(to_doubles(now), "after a step of the optimiser");

    backend->set_zero(masters, bytes, {});
    expect_products_of(Vector(size), "after zeroing");
    backend->free(masters);
    masters = static_cast<float*>(backend->allocate(bytes));
    if (weight.element_bytes == sizeof(float)) weight.data = reinterpret_cast<std::byte*>(masters);
    upload(random_values(size, 0.2, 6));
    expect_products_of(random_values(size, 0.2, 6), "in memory that was another's");
    backend->free(masters);
    backend->free(copies);
}

/// What the library refuses, as PROTALBERT_TEST_REFUSALS makes the emulated one, is counted: it is not to pass unseen.
TEST(Products, CountsRefusals) {
    const auto backend = test_backend();
    EXPECT_EQ(backend->slow_products(), 0);
    if (std::getenv("PROTALBERT_TEST_REFUSALS") == nullptr) GTEST_SKIP() << "nothing is refused here";
    constexpr Index most = 20, N = 8, K = 16;
    Vector x = random_values(most * K, 1, 1), w = random_values(N * K, 1, 2);
    Tensor x_device(*backend, x), w_device(*backend, w);
    for (Index T = 1; T <= most; ++T) {
        Tensor out(*backend, T * N);
        backend->linear(out.activations(), x_device.activations(), w_device.activations(), {}, T, N, K, {});
    }
    EXPECT_GT(backend->slow_products(), 0);
    EXPECT_LT(backend->slow_products(), most);
}

TEST(Products, SameBitsForAllThreadCounts) {
    for (const Shape& shape : {Shape{515, 272, 130}, Shape{64, 1024, 256}, Shape{2000, 96, 64}}) {
        const Index T = shape.T, N = shape.N, K = shape.K;
        SCOPED_TRACE(testing::Message() << T << " x " << N << " x " << K);
        Vector x = random_values(T * K, 1, 1), w = random_values(N * K, 0.2, 2), dy = random_values(T * N, 1, 3);
        Vector bias = random_values(N, 1, 4);
        expect_same_for_all_thread_counts([&](Backend& backend) {
            Tensor x_device(backend, x), w_device(backend, w), dy_device(backend, dy);
            Tensor out(backend, T * N), pre(backend, T * N), dx(backend, T * K);
            Tensor bias_device(backend, bias);
            Guarded<float> dweight(backend, std::vector<float>(static_cast<std::size_t>(N * K)));
            Guarded<float> dbias(backend, std::vector<float>(static_cast<std::size_t>(N)));
            backend.linear_gelu(out.activations(), pre.activations(), x_device.activations(), w_device.activations(),
                                bias_device.activations(), Gelu::tanh, T, N, K, {});
            backend.linear_backward_data(dx.activations(), dy_device.activations(), w_device.activations(), {}, T, N, K,
                                         {});
            backend.linear_backward_weight(dweight.device(), dbias.device(), dy_device.activations(),
                                           x_device.activations(), false, T, N, K, {});
            Guarded<float> x_bias(backend, std::vector<float>(static_cast<std::size_t>(K)));
            Tensor dpre(backend, T * K);
            backend.linear_backward_data_gelu(dpre.activations(), x_bias.device(), dy_device.activations(),
                                              w_device.activations(), x_device.activations(), Gelu::tanh, T, N, K, {});
            Vector all = out.host();
            for (const Vector& part : {pre.host(), dx.host(), dpre.host(), to_doubles(dweight.host()),
                                       to_doubles(dbias.host()), to_doubles(x_bias.host())}) {
                all.insert(all.end(), part.begin(), part.end());
            }
            return all;
        });
    }
}

}  // namespace
}  // namespace protalbert
