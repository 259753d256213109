// Layer norm of a backend against the double-precision reference.

#include "tests/kernels/tensors.hpp"

namespace protalbert {
namespace {

struct Shape {
    Index T, N;
};
const std::vector<Shape> shapes{{0, 12},   {1, 1},    {1, 12},   {3, 20},   {17, 48},  {130, 16}, {130, 33},
                                {67, 256}, {6, 1000}, {3, 2056}, {5, 4096}, {2, 4104}, {2, 8200}};

/// Of the backward pass besides: three rows in turn for a block of a GPU, two for a warp, and more packs than threads,
/// with 1100 columns those of single elements.
const std::vector<Shape> backward_shapes{{540, 264}, {1100, 16}, {3, 8200}, {270, 1100}};

/// Two sums in float32 or better, and a handful of roundings of each element.
constexpr double norm_tolerance = 2e-6;

Vector add(Vector a, const Vector& b) {
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(a[i] + b[i]);
    return a;
}

TEST(LayerNorm, Forward) {
    const auto backend = test_backend();
    for (const auto& [T, N] : shapes) {
        SCOPED_TRACE(testing::Message() << T << " x " << N);
        Vector branch = random_values(T * N, 1, 1), residual = random_values(T * N, 1, 2);
        const Vector gamma = random_values(N, 1, 3), beta = random_values(N, 1, 4);
        const auto gamma_device = float_input(*backend, gamma), beta_device = float_input(*backend, beta);
        for (const bool with_residual : {false, true}) {
            for (const bool training : {false, true}) {
                Tensor branch_device(*backend, branch), residual_device(*backend, residual), out(*backend, T * N);
                Guarded<float> mean(*backend, std::vector<float>(static_cast<std::size_t>(T), NAN));
                Guarded<float> rstd(*backend, std::vector<float>(static_cast<std::size_t>(T), NAN));
                branch_device.changeable();
                backend->residual_layer_norm(out.activations(), training ? mean.device() : nullptr,
                                             training ? rstd.device() : nullptr, branch_device.activations(),
                                             with_residual ? residual_device.activations() : Activations{},
                                             gamma_device.device(), beta_device.device(), 1e-12, T, N, {});
                const Vector s = with_residual ? add(branch, residual) : branch;
                const auto want = reference::layer_norm(s, gamma, beta, 1e-12, T, N);
                // A single feature has zero variance: (s - mean) is 0 in both and rstd is 1e6 exactly.
                expect_close(out.host(), want.out, tolerance(*backend, norm_tolerance), "out");
                if (!training) continue;
                expect_close(branch_device.host(), s, tolerance(*backend, 0), "s left in branch");
                expect_close(to_doubles(mean.host()), want.mean, tolerance(*backend, norm_tolerance), "mean");
                expect_close(to_doubles(rstd.host()), want.rstd, tolerance(*backend, norm_tolerance), "rstd");
            }
        }
    }
}

TEST(LayerNorm, OutputInPlaceOfResidual) {
    const auto backend = test_backend();
    const Index T = 17, N = 48;
    Vector branch = random_values(T * N, 1, 1), residual = random_values(T * N, 1, 2);
    const Vector gamma = random_values(N, 1, 3), beta = random_values(N, 1, 4);
    const auto gamma_device = float_input(*backend, gamma), beta_device = float_input(*backend, beta);
    const auto want = reference::layer_norm(add(branch, residual), gamma, beta, 1e-12, T, N);
    for (const bool training : {false, true}) {
        Tensor branch_device(*backend, branch), residual_device(*backend, residual);
        branch_device.changeable();
        residual_device.changeable();
        Guarded<float> mean(*backend, std::vector<float>(T)), rstd(*backend, std::vector<float>(T));
        backend->residual_layer_norm(residual_device.activations(), training ? mean.device() : nullptr,
                                     training ? rstd.device() : nullptr, branch_device.activations(),
                                     residual_device.activations(), gamma_device.device(), beta_device.device(), 1e-12,
                                     T, N, {});
        expect_close(residual_device.host(), want.out, tolerance(*backend, norm_tolerance), "out over residual");
    }
    Tensor branch_device(*backend, branch), residual_device(*backend, residual);
    branch_device.changeable();
    backend->residual_layer_norm(branch_device.activations(), nullptr, nullptr, branch_device.activations(),
                                 residual_device.activations(), gamma_device.device(), beta_device.device(), 1e-12, T,
                                 N, {});
    expect_close(branch_device.host(), want.out, tolerance(*backend, norm_tolerance), "out over branch");
}

/// Rows far from zero: E[x^2] - E[x]^2 would lose everything here.
TEST(LayerNorm, LargeMean) {
    const auto backend = test_backend();
    const Index T = 5, N = 256;
    Vector branch = random_values(T * N, 1, 1);
    for (double& value : branch) value = std::round(value * 16) / 16 + 4096;
    const Vector gamma(N, 1.0), beta(N, 0.0);
    Tensor branch_device(*backend, branch), out(*backend, T * N);
    const auto gamma_device = float_input(*backend, gamma), beta_device = float_input(*backend, beta);
    backend->residual_layer_norm(out.activations(), nullptr, nullptr, branch_device.activations(), {},
                                 gamma_device.device(), beta_device.device(), 1e-12, T, N, {});
    // The mean itself is rounded at 4096 * 2^-24 = 2.4e-4 of the deviation where it is kept in float32.
    expect_close(out.host(), reference::layer_norm(branch, gamma, beta, 1e-12, T, N).out, tolerance(*backend, 5e-4),
                 "out");
}

TEST(LayerNorm, Backward) {
    const auto backend = test_backend();
    std::vector<Shape> all = shapes;
    all.insert(all.end(), backward_shapes.begin(), backward_shapes.end());
    for (const auto& [T, N] : all) {
        if (N == 1) continue;  // a variance of zero: the gradient is 0 times 1e6
        SCOPED_TRACE(testing::Message() << T << " x " << N);
        Vector s = random_values(T * N, 1, 1), dout = random_values(T * N, 1, 2);
        const Vector gamma = random_values(N, 1, 3), before = random_values(N, 1, 4);
        round_to(*backend, s);
        round_to(*backend, dout);
        const auto forward = reference::layer_norm(s, gamma, before, 1e-12, T, N);
        auto want = reference::layer_norm_backward(dout, s, gamma, 1e-12, T, N);
        want.dgamma = add(want.dgamma, before);
        want.dbeta = add(want.dbeta, before);
        const Vector want_dbias = add(reference::column_sums(want.ds, T, N), before);
        const auto gamma_device = float_input(*backend, gamma);
        const auto mean = float_input(*backend, forward.mean), rstd = float_input(*backend, forward.rstd);
        for (const int alias : {0, 1, 2}) {
            Tensor s_device(*backend, s), dout_device(*backend, dout), ds(*backend, T * N);
            Guarded<float> dgamma(*backend, to_floats(before)), dbeta(*backend, to_floats(before));
            Guarded<float> dbias(*backend, to_floats(before));
            const bool with_bias = alias != 2;
            Tensor& target = alias == 0 ? ds : alias == 1 ? s_device.changeable() : dout_device.changeable();
            backend->layer_norm_backward(target.activations(), dgamma.device(), dbeta.device(),
                                         with_bias ? dbias.device() : nullptr, dout_device.activations(),
                                         s_device.activations(), mean.device(), rstd.device(), gamma_device.device(), T,
                                         N, {});
            if (T > 0) {
                expect_close(target.host(), want.ds, tolerance(*backend, 2 * norm_tolerance), "ds");
            }
            expect_close(to_doubles(dgamma.host()), want.dgamma, norm_tolerance, "dgamma");
            expect_close(to_doubles(dbeta.host()), want.dbeta, norm_tolerance, "dbeta");
            // Of float32 sums whatever the precision: ds is added up before it is rounded.
            if (with_bias) expect_close(to_doubles(dbias.host()), want_dbias, 2 * norm_tolerance, "dbias");
        }
    }
}

TEST(LayerNorm, SameBitsForAllThreadCounts) {
    const Index T = 1003, N = 48;
    Vector s = random_values(T * N, 1, 1), dout = random_values(T * N, 1, 2);
    const Vector gamma = random_values(N, 1, 3);
    const auto forward = reference::layer_norm(s, gamma, gamma, 1e-12, T, N);
    expect_same_for_all_thread_counts([&](Backend& backend) {
        Tensor s_device(backend, s), dout_device(backend, dout), ds(backend, T * N);
        const auto mean = float_input(backend, forward.mean), rstd = float_input(backend, forward.rstd);
        const auto gamma_device = float_input(backend, gamma);
        Guarded<float> dgamma(backend, std::vector<float>(N)), dbeta(backend, std::vector<float>(N));
        Guarded<float> dbias(backend, std::vector<float>(N));
        backend.layer_norm_backward(ds.activations(), dgamma.device(), dbeta.device(), dbias.device(),
                                    dout_device.activations(), s_device.activations(), mean.device(), rstd.device(),
                                    gamma_device.device(), T, N, {});
        Vector all = ds.host();
        for (const Vector& part : {to_doubles(dgamma.host()), to_doubles(dbeta.host()), to_doubles(dbias.host())}) {
            all.insert(all.end(), part.begin(), part.end());
        }
        return all;
    });
}

}  // namespace
}  // namespace protalbert
