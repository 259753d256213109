// Embeddings of a backend against the double-precision reference.

#include "tests/kernels/tensors.hpp"

namespace protalbert {
namespace {

struct Case {
    Index T, E;
    std::int32_t V, P;
};
const std::vector<Case> cases{{0, 12, 5, 9}, {1, 4, 3, 1}, {17, 20, 34, 40}, {130, 16, 34, 600}, {1500, 33, 7, 100}};

/// As for layer norm: two sums and a handful of roundings.
constexpr double embedding_tolerance = 2e-6;

struct Problem {
    reference::Ids ids;
    Vector word, position, segment, gamma, beta, dout;
    Vector sum;  ///< [T, E]
};

Problem make_problem(const Case& c) {
    Problem p{{random_ids(c.T, c.V, 1), random_ids(c.T, 2, 2), random_ids(c.T, c.P, 3)},
              random_values(c.V * c.E, 1, 4),
              random_values(c.P * c.E, 1, 5),
              random_values(2 * c.E, 1, 6),
              random_values(c.E, 1, 7),
              random_values(c.E, 1, 8),
              random_values(c.T * c.E, 1, 9),
              {}};
    p.sum = reference::embedding_sum(p.ids, p.word, p.position, p.segment, c.E);
    return p;
}

/// The inputs of a problem on a device.
struct DeviceProblem {
    DeviceProblem(Backend& backend, const Problem& p)
        : tokens(backend, p.ids.tokens),
          segments(backend, p.ids.segments),
          positions(backend, p.ids.positions),
          word(backend, to_floats(p.word)),
          position(backend, to_floats(p.position)),
          segment(backend, to_floats(p.segment)),
          gamma(backend, to_floats(p.gamma)),
          beta(backend, to_floats(p.beta)) {}
    EmbeddingIds ids() const { return {tokens.device(), segments.device(), positions.device()}; }
    EmbeddingTables tables() const {
        return {word.device(), position.device(), segment.device(), gamma.device(), beta.device(), 1e-12};
    }
    Input<std::int32_t> tokens, segments, positions;
    Input<float> word, position, segment, gamma, beta;
};

TEST(Embedding, Forward) {
    const auto backend = test_backend();
    for (const Case& c : cases) {
        SCOPED_TRACE(testing::Message() << c.T << " x " << c.E);
        const Problem p = make_problem(c);
        const DeviceProblem device(*backend, p);
        Tensor out(*backend, c.T * c.E), inference(*backend, c.T * c.E);
        Guarded<float> mean(*backend, std::vector<float>(static_cast<std::size_t>(c.T), NAN));
        Guarded<float> rstd(*backend, std::vector<float>(static_cast<std::size_t>(c.T), NAN));
        backend->embedding_forward(out.activations(), mean.device(), rstd.device(), device.ids(), device.tables(), c.T,
                                   c.E, {});
        const auto want = reference::layer_norm(p.sum, p.gamma, p.beta, 1e-12, c.T, c.E);
        expect_close(out.host(), want.out, tolerance(*backend, embedding_tolerance), "out");
        expect_close(to_doubles(mean.host()), want.mean, embedding_tolerance, "mean");
        expect_close(to_doubles(rstd.host()), want.rstd, embedding_tolerance, "rstd");
        backend->embedding_forward(inference.activations(), nullptr, nullptr, device.ids(), device.tables(), c.T, c.E,
                                   {});
        EXPECT_EQ(out.host(), inference.host());
    }
}

/// The five gradients, one after another, of a backend that accumulates on `before`.
Vector backward(Backend& backend, const Case& c, Problem& p, double before) {
    const DeviceProblem device(backend, p);
    const auto forward = reference::layer_norm(p.sum, p.gamma, p.beta, 1e-12, c.T, c.E);
    const auto mean = float_input(backend, forward.mean), rstd = float_input(backend, forward.rstd);
    Tensor dout(backend, p.dout);
    const auto filled = [&](Index n) {
        return std::vector<float>(static_cast<std::size_t>(n), static_cast<float>(before));
    };
    Guarded<float> word(backend, filled(c.V * c.E)), position(backend, filled(c.P * c.E));
    Guarded<float> segment(backend, filled(2 * c.E)), gamma(backend, filled(c.E)), beta(backend, filled(c.E));
    backend.embedding_backward({word.device(), position.device(), segment.device(), gamma.device(), beta.device()},
                               dout.activations(), mean.device(), rstd.device(), device.ids(), device.tables(), c.T,
                               c.E, c.V, c.P, {});
    Vector all;
    for (const auto* part : {&word, &position, &segment, &gamma, &beta}) {
        const std::vector<float> values = part->host();
        all.insert(all.end(), values.begin(), values.end());
    }
    return all;
}

TEST(Embedding, Backward) {
    const auto backend = test_backend();
    for (const Case& c : cases) {
        SCOPED_TRACE(testing::Message() << c.T << " x " << c.E);
        Problem p = make_problem(c);
        const Vector got = backward(*backend, c, p, 0.5);
        const auto norm = reference::layer_norm_backward(p.dout, p.sum, p.gamma, 1e-12, c.T, c.E);
        Vector word(static_cast<std::size_t>(c.V * c.E), 0.5), position(static_cast<std::size_t>(c.P * c.E), 0.5);
        Vector segment(static_cast<std::size_t>(2 * c.E), 0.5);
        reference::add_rows(word, p.ids.tokens, norm.ds, c.E);
        reference::add_rows(position, p.ids.positions, norm.ds, c.E);
        reference::add_rows(segment, p.ids.segments, norm.ds, c.E);
        auto part = got.begin();
        const auto next = [&](const Vector& want, const char* what) {
            expect_close(Vector(part, part + static_cast<Index>(want.size())), want,
                         tolerance(*backend, 2 * embedding_tolerance), what);
            part += static_cast<Index>(want.size());
        };
        next(word, "word");
        next(position, "position");
        next(segment, "segment");
        Vector dgamma = norm.dgamma, dbeta = norm.dbeta;
        for (double& value : dgamma) value += 0.5;
        for (double& value : dbeta) value += 0.5;
        next(dgamma, "gamma");
        next(dbeta, "beta");
    }
}

TEST(Embedding, SameBitsForAllThreadCounts) {
    const Case c{3000, 48, 34, 512};
    Problem p = make_problem(c);
    expect_same_for_all_thread_counts([&](Backend& backend) { return backward(backend, c, p, 0.25); });
}

}  // namespace
}  // namespace protalbert
