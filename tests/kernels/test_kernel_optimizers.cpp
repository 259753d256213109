// Optimisers of a backend against the double-precision reference.

#include "tests/kernels/tensors.hpp"

namespace protalbert {
namespace {

/// Moments and updates are a few roundings of float32 each.
constexpr double optimizer_tolerance = 2e-6;

/// Several variables with a gap of foreign elements between two of them, one larger than any chunk, one of zeros.
const std::vector<Variable> variables{{0, 1, true},         {1, 12, false},      {13, 1000, true},
                                      {1020, 150000, true}, {151020, 33, false}, {151053, 40, true}};
constexpr Index size = 151100;

struct Problem {
    reference::OptimizerState state;
    Vector g;
};

Problem make_problem() {
    Problem p{{random_values(size, 0.05, 1), random_values(size, 1e-3, 2), random_values(size, 1e-3, 3)},
              random_values(size, 1e-2, 4)};
    for (double& value : p.state.v) value = static_cast<float>(value * value);
    for (Index i = 151053; i < 151093; ++i) p.state.w[reference::at(0, 0, i)] = 0;  // norm zero: ratio 1
    return p;
}

double squared_norm(const Vector& g) {
    double sum = 0;
    for (const double value : g) sum += value * value;
    return sum;
}

struct Result {
    std::vector<float> w, m, v;
};

Result run(Backend& backend, const Problem& p, OptimizerStep step, bool lamb, double squared) {
    Guarded<float> w(backend, to_floats(p.state.w)), m(backend, to_floats(p.state.m)), v(backend, to_floats(p.state.v));
    Guarded<float> g(backend, to_floats(p.g));
    const Input<double> norm(backend, {squared});
    step.squared_norm = norm.device();
    if (lamb) {
        backend.lamb(w.device(), nullptr, m.device(), v.device(), g.device(), variables, step, {});
    } else {
        backend.adamw(w.device(), nullptr, m.device(), v.device(), g.device(), variables, step, {});
    }
    return {w.host(), m.host(), v.host()};
}

TEST(Optimizers, AgainstReference) {
    const auto backend = test_backend();
    const Problem p = make_problem();
    const double squared = squared_norm(p.g);
    for (const bool lamb : {true, false}) {
        for (const double clip : {0.0, 1.0, 1e6}) {
            SCOPED_TRACE(testing::Message() << (lamb ? "lamb" : "adamw") << " clip " << clip);
            OptimizerStep step;
            step.learning_rate = 0.01;
            step.clip = clip;
            reference::OptimizerState want = p.state;
            reference::optimize(want, p.g, variables, step, squared, lamb);
            const Result got = run(*backend, p, step, lamb, squared);
            expect_close(to_doubles(got.w), want.w, optimizer_tolerance, "w");
            expect_close(to_doubles(got.m), want.m, optimizer_tolerance, "m");
            expect_close(to_doubles(got.v), want.v, optimizer_tolerance, "v");
            for (Index i = 1013; i < 1020; ++i) {
                const std::size_t k = reference::at(0, 0, i);
                EXPECT_EQ(got.w[k], static_cast<float>(p.state.w[k])) << "between two variables";
                EXPECT_EQ(got.m[k], static_cast<float>(p.state.m[k])) << "between two variables";
            }
        }
    }
}

TEST(Optimizers, ZeroGradientAndMoments) {
    const auto backend = test_backend();
    Problem p = make_problem();
    p.g = p.state.m = p.state.v = reference::zeros(size);
    OptimizerStep step;
    step.learning_rate = 0.01;
    reference::OptimizerState want = p.state;
    step.clip = 0;
    reference::optimize(want, p.g, variables, step, 0, true);
    step.clip = 1;  // the norm is 0: the factor must be 1, not NaN
    expect_close(to_doubles(run(*backend, p, step, true, 0).w), want.w, optimizer_tolerance, "w");
}

TEST(Optimizers, NothingChangesWhenTheNormIsNotFinite) {
    const auto backend = test_backend();
    const Problem p = make_problem();
    for (const bool lamb : {true, false}) {
        for (const double norm : {double{INFINITY}, std::nan("")}) {
            for (const double clip : {0.0, 1.0}) {
                OptimizerStep step;
                step.learning_rate = 0.01;
                step.clip = clip;
                const Result got = run(*backend, p, step, lamb, norm);
                EXPECT_EQ(got.w, to_floats(p.state.w));
                EXPECT_EQ(got.m, to_floats(p.state.m));
                EXPECT_EQ(got.v, to_floats(p.state.v));
            }
        }
    }
}

TEST(Optimizers, SumOfSquares) {
    const auto backend = test_backend();
    for (const Index n : {0, 1, 3, 17, 130, 65536, 200001}) {
        const Vector x = random_values(n, 1, 1);
        const auto x_device = float_input(*backend, x);
        Guarded<double> out(*backend, {NAN});
        backend->sum_of_squares(out.device(), x_device.device(), n, {});
        // Squares of float32 are exact in float64; only the sum rounds.
        EXPECT_NEAR(out.host()[0], squared_norm(x), 1e-12 * squared_norm(x));
    }
    const auto large = float_input(*backend, {3e38, 1, NAN});
    Guarded<double> out(*backend, {0});
    backend->sum_of_squares(out.device(), large.device(), 2, {});
    EXPECT_NEAR(out.host()[0], 9e76, 1e71) << "no overflow";
    backend->sum_of_squares(out.device(), large.device(), 3, {});
    EXPECT_TRUE(std::isnan(out.host()[0]));
}

TEST(Optimizers, SameBitsForAllThreadCounts) {
    const Problem p = make_problem();
    OptimizerStep step;
    step.learning_rate = 0.01;
    expect_same_for_all_thread_counts([&](Backend& backend) {
        const Result got = run(backend, p, step, true, squared_norm(p.g));
        Vector all = to_doubles(got.w);
        const auto g = float_input(backend, p.g);
        Guarded<double> sum(backend, {0});
        backend.sum_of_squares(sum.device(), g.device(), size, {});
        all.push_back(sum.host()[0]);
        return all;
    });
}

}  // namespace
}  // namespace protalbert
