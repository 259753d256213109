// Attention of a backend against the double-precision reference.

#include "tests/kernels/tensors.hpp"

namespace protalbert {
namespace {

struct Case {
    std::vector<Index> lengths;
    Index A, D;
};

/// Empty sequences, lengths on both sides of every tile size, head sizes that fill vectors and that do not.
const std::vector<Case> cases{{{}, 2, 16},
                              {{0}, 2, 16},
                              {{1}, 1, 4},
                              {{3, 0, 17}, 3, 12},
                              {{17, 1, 0, 130}, 2, 20},
                              {{130, 5}, 2, 16},
                              {{64, 33}, 2, 32},
                              {{1, 128, 200}, 2, 64},
                              {{65, 70}, 1, 128},
                              {{300}, 1, 64},
                              {{15, 16, 31}, 1, 7},
                              {{100}, 2, 48},
                              {{24, 25, 47}, 1, 80},
                              {{520}, 1, 32},
                              {{12}, 1, 256}};

/// Scores and sums of L and D terms in float32, exponentials of 1e-7: a few 1e-7 of the largest value.
constexpr double forward_tolerance = 2e-6;
/// ds = p (dp - delta) cancels where the probability is large, hence a little more.
constexpr double backward_tolerance = 5e-6;

TEST(Attention, Forward) {
    const auto backend = test_backend();
    for (const auto& [lengths, A, D] : cases) {
        const Sequences sequences(*backend, lengths);
        const Index T = sequences.offsets().back(), H = A * D;
        SCOPED_TRACE(testing::Message() << "T " << T << " A " << A << " D " << D);
        Vector qkv = random_values(T * 3 * H, 1, 1);
        Tensor qkv_device(*backend, qkv), out(*backend, T * H), inference(*backend, T * H);
        Guarded<float> logsumexp(*backend, std::vector<float>(static_cast<std::size_t>(A * T), NAN));
        backend->attention_forward(out.activations(), logsumexp.device(), qkv_device.activations(), sequences.packed(),
                                   A, D, {});
        const auto want = reference::attention_forward(qkv, sequences.offsets(), A, D);
        expect_close(out.host(), want.out, tolerance(*backend, forward_tolerance), "out");
        expect_close(to_doubles(logsumexp.host()), want.logsumexp, tolerance(*backend, forward_tolerance), "logsumexp");
        backend->attention_forward(inference.activations(), nullptr, qkv_device.activations(), sequences.packed(), A, D,
                                   {});
        EXPECT_EQ(inference.host(), out.host()) << "without logsumexp";
    }
}

TEST(Attention, Backward) {
    const auto backend = test_backend();
    for (const auto& [lengths, A, D] : cases) {
        const Sequences sequences(*backend, lengths);
        const Index T = sequences.offsets().back(), H = A * D;
        SCOPED_TRACE(testing::Message() << "T " << T << " A " << A << " D " << D);
        Vector qkv = random_values(T * 3 * H, 1, 1), dout = random_values(T * H, 1, 2);
        auto forward = reference::attention_forward(qkv, sequences.offsets(), A, D);
        Tensor qkv_device(*backend, qkv), dout_device(*backend, dout), out(*backend, forward.out);
        Tensor dqkv(*backend, T * 3 * H);
        const auto logsumexp = float_input(*backend, forward.logsumexp);
        backend->attention_backward(dqkv.activations(), dout_device.activations(), out.activations(),
                                    qkv_device.activations(), logsumexp.device(), sequences.packed(), A, D, {});
        expect_close(dqkv.host(), reference::attention_backward(dout, forward.out, qkv, sequences.offsets(), A, D),
                     tolerance(*backend, backward_tolerance), "dqkv");
    }
}

TEST(Attention, LargeScores) {
    // Scores up to +-1e4: the softmax is then one-hot, or exactly uniform where all scores are equal.
    const auto backend = test_backend();
    const Index A = 1, D = 16, T = 70;
    const Sequences sequences(*backend, {T});
    Vector qkv = random_values(T * 3 * D, 1, 1);
    for (Index t = 0; t < T; ++t) {
        for (Index d = 0; d < D; ++d) {
            qkv[reference::at(t, 3 * D, d)] = (t % 3 - 1) * 50.0;
            qkv[reference::at(t, 3 * D, D + d)] = t % 5 == 0 ? 50.0 : -50.0 + static_cast<double>(t);
        }
    }
    Tensor qkv_device(*backend, qkv), out(*backend, T * D);
    Guarded<float> logsumexp(*backend, std::vector<float>(static_cast<std::size_t>(T), NAN));
    backend->attention_forward(out.activations(), logsumexp.device(), qkv_device.activations(), sequences.packed(), A,
                               D, {});
    const auto want = reference::attention_forward(qkv, sequences.offsets(), A, D);
    expect_close(out.host(), want.out, tolerance(*backend, forward_tolerance), "out");
    expect_close(to_doubles(logsumexp.host()), want.logsumexp, tolerance(*backend, forward_tolerance), "logsumexp");
}

TEST(Attention, NotANumberStaysInItsSequenceAndHead) {
    const auto backend = test_backend();
    const Index A = 2, D = 16, H = A * D;
    const Sequences sequences(*backend, {40, 40});
    Vector qkv = random_values(80 * 3 * H, 1, 1);
    qkv[reference::at(50, 3 * H, H + D + 3)] = NAN;  // a key of head 1 in the second sequence
    Tensor qkv_device(*backend, qkv), out(*backend, 80 * H);
    qkv_device.changeable();
    backend->attention_forward(out.activations(), nullptr, qkv_device.activations(), sequences.packed(), A, D, {});
    const Vector got = out.host();
    for (Index t = 0; t < 80; ++t) {
        for (Index h = 0; h < H; ++h) {
            EXPECT_EQ(std::isnan(got[reference::at(t, H, h)]), t >= 40 && h >= D) << t << " " << h;
        }
    }
}

TEST(Attention, SameBitsForAllThreadCounts) {
    const Index A = 2, D = 32, H = A * D;
    // The CPU cuts sequences at 256 keys and 480 queries, a GPU at 128 rows; emulated, 700 tokens take a minute.
    const Index longest = on_gpu() ? 200 : 700;
    const std::vector<Index> lengths{longest, 3, 0, 129};
    const Index T = longest + 132;
    Vector qkv = random_values(T * 3 * H, 1, 1), dout = random_values(T * H, 1, 2);
    expect_same_for_all_thread_counts([&](Backend& backend) {
        const Sequences sequences(backend, lengths);
        Tensor qkv_device(backend, qkv), dout_device(backend, dout), out(backend, T * H), dqkv(backend, T * 3 * H);
        Guarded<float> logsumexp(backend, std::vector<float>(static_cast<std::size_t>(A * T)));
        backend.attention_forward(out.activations(), logsumexp.device(), qkv_device.activations(), sequences.packed(),
                                  A, D, {});
        backend.attention_backward(dqkv.activations(), dout_device.activations(), out.activations(),
                                   qkv_device.activations(), logsumexp.device(), sequences.packed(), A, D, {});
        Vector all = out.host();
        const Vector gradients = dqkv.host();
        all.insert(all.end(), gradients.begin(), gradients.end());
        return all;
    });
}

/// A sequence alone and the same one packed between others give the same bits.
TEST(Attention, PackingChangesNothing) {
    const auto backend = test_backend();
    const Index A = 2, D = 64, H = A * D, L = 150;
    Vector one = random_values(L * 3 * H, 1, 1);
    Vector packed = random_values(37 * 3 * H, 1, 2);
    packed.insert(packed.end(), one.begin(), one.end());
    const Vector last = random_values(20 * 3 * H, 1, 3);
    packed.insert(packed.end(), last.begin(), last.end());
    const Sequences alone(*backend, {L}), together(*backend, {37, L, 20});
    Tensor one_device(*backend, one), packed_device(*backend, packed), out(*backend, L * H), all(*backend, 207 * H);
    backend->attention_forward(out.activations(), nullptr, one_device.activations(), alone.packed(), A, D, {});
    backend->attention_forward(all.activations(), nullptr, packed_device.activations(), together.packed(), A, D, {});
    const Vector everything = all.host();
    EXPECT_EQ(out.host(), Vector(everything.begin() + 37 * H, everything.begin() + (37 + L) * H));
}

}  // namespace
}  // namespace protalbert
