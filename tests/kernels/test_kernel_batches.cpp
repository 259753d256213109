// What a forward operation makes of a sequence is the same, bit for bit, alone and in any batch: whatever stands before
// and behind it, wherever its rows lie in memory, with any number of threads. Vectors of protalbert_embed rest on it.

#include <functional>

#include "tests/kernels/tensors.hpp"

namespace protalbert {
namespace {

/// Lengths on both sides of every tile, group and slice of the kernels; some too short for residues.
const std::vector<Index> lengths{150, 1, 481, 64, 2, 17, 700, 3, 65, 257, 48, 0, 63, 96, 33};

/// Sizes of a model's parts, as far as they decide how kernels cut their work.
struct Sizes {
    Index heads, head, narrow, wide;
    Index hidden() const { return heads * head; }
};
/// Rows that fill vectors and panels, and rows that do not; `wide` with sums of several blocks and more columns than
/// products read their left operand for as it is; once rows that are a page apart.
const std::vector<Sizes> sizes{{3, 64, 64, 768}, {3, 65, 37, 1101}, {5, 13, 31, 1024}};

/// Bytes of a result, which == compares where NaN are.
using Bytes = std::vector<std::byte>;

template <class T>
Bytes bytes_of(const std::vector<T>& values) {
    const auto* const first = reinterpret_cast<const std::byte*>(values.data());
    return {first, first + values.size() * sizeof(T)};
}

/// The rows of some sequences, one behind the other, `shift` elements behind where they would be aligned.
class Rows {
  public:
    Rows(Backend& backend, const Vector& values, Index shift) : shift_(shift), values_(shifted(values, shift)) {
        memory_ = std::make_unique<Tensor>(backend, values_);
        memory_->changeable();
    }
    Activations activations() const { return memory_->activations() + shift_; }
    Bytes host() const {
        const Vector all = memory_->host();
        return bytes_of(std::vector<float>(all.begin() + shift_, all.end()));
    }

  private:
    static Vector shifted(const Vector& values, Index shift) {
        Vector all(static_cast<std::size_t>(shift), 0.0);
        all.insert(all.end(), values.begin(), values.end());
        return all;
    }
    Index shift_;
    Vector values_;
    std::unique_ptr<Tensor> memory_;
};

/// A batch on a device.
struct Batch {
    Backend& backend;
    const Sequences& sequences;
    const std::vector<std::size_t>& numbers;  ///< of the sequences
    Index shift;

    Index tokens() const { return sequences.offsets().back(); }
    /// Random rows of N values that belong to the sequences, wherever they are in the batch.
    Rows rows(Index N, unsigned seed) const {
        Vector values;
        for (const std::size_t s : numbers) {
            const Vector own = random_values(lengths[s] * N, 1, seed + 100 * static_cast<unsigned>(s));
            values.insert(values.end(), own.begin(), own.end());
        }
        return {backend, values, shift};
    }
    /// Random ids likewise.
    Input<std::int32_t> ids(std::int32_t limit, unsigned seed) const {
        std::vector<std::int32_t> values;
        for (const std::size_t s : numbers) {
            const auto own = random_ids(lengths[s], limit, seed + 100 * static_cast<unsigned>(s));
            values.insert(values.end(), own.begin(), own.end());
        }
        return {backend, values};
    }
    Rows output(Index rows, Index N) const { return {backend, Vector(static_cast<std::size_t>(rows * N), NAN), shift}; }
};

/// Runs an operation on a batch; gives its result and how many bytes of it each sequence has, in their order.
struct Result {
    Bytes bytes;
    std::vector<std::size_t> sizes;
};
using Operation = std::function<Result(const Batch&)>;

Result of_tokens(const Batch& batch, const Bytes& bytes) {
    Result result{bytes, {}};
    const std::size_t row = batch.tokens() == 0 ? 0 : bytes.size() / static_cast<std::size_t>(batch.tokens());
    for (const std::size_t s : batch.numbers) result.sizes.push_back(static_cast<std::size_t>(lengths[s]) * row);
    return result;
}
Result of_residues(const Batch& batch, const Bytes& bytes, std::size_t row) {
    Result result{bytes, {}};
    for (const std::size_t s : batch.numbers)
        result.sizes.push_back(static_cast<std::size_t>(std::max<Index>(0, lengths[s] - 2)) * row);
    return result;
}
Result of_sequences(const Batch& batch, const Bytes& bytes) {
    return {bytes, std::vector<std::size_t>(batch.numbers.size(), bytes.size() / batch.numbers.size())};
}

/// Each sequence alone, with one thread, against batches in two orders and against another place in memory.
void expect_same_bits(const char* name, const Operation& operation) {
    SCOPED_TRACE(name);
    const auto run = [&](int threads, const std::vector<std::size_t>& numbers, Index shift) {
        const auto backend = test_backend(threads);
        std::vector<Index> own;
        for (const std::size_t s : numbers) own.push_back(lengths[s]);
        const Sequences sequences(*backend, own);
        return operation({*backend, sequences, numbers, shift});
    };
    std::vector<Bytes> alone;
    for (std::size_t s = 0; s < lengths.size(); ++s) alone.push_back(run(1, {s}, 0).bytes);
    for (std::size_t s = 0; s < lengths.size(); ++s) EXPECT_EQ(run(2, {s}, 3).bytes, alone[s]) << "alone " << s;
    std::vector<std::size_t> forwards, backwards, some;
    for (std::size_t s = 0; s < lengths.size(); ++s) {
        forwards.push_back(s);
        backwards.insert(backwards.begin(), s);
        if (s % 3 != 0) some.push_back(s);
    }
    struct Case {
        int threads;
        const std::vector<std::size_t>& numbers;
        Index shift;
    };
    for (const auto& [threads, numbers, shift] :
         {Case{1, forwards, 0}, {2, backwards, 1}, {3, forwards, 2}, {5, backwards, 7}, {2, some, 5}}) {
        SCOPED_TRACE(testing::Message() << threads << " threads, shift " << shift);
        const Result together = run(threads, numbers, shift);
        std::size_t place = 0;
        for (std::size_t i = 0; i < numbers.size(); ++i) {
            const auto begin = together.bytes.begin() + static_cast<std::ptrdiff_t>(place);
            place += together.sizes[i];
            EXPECT_TRUE(Bytes(begin, begin + static_cast<std::ptrdiff_t>(together.sizes[i])) == alone[numbers[i]])
                << "sequence " << numbers[i] << " of length " << lengths[numbers[i]];
        }
        EXPECT_EQ(place, together.bytes.size());
    }
}

class Batches : public testing::TestWithParam<Sizes> {};

TEST_P(Batches, Embedding) {
    const Index E = GetParam().narrow;
    constexpr std::int32_t words = 34, positions = 700;
    expect_same_bits("embedding", [&](const Batch& batch) {
        const auto tokens = batch.ids(words, 1), segments = batch.ids(2, 2), places = batch.ids(positions, 3);
        const auto word = float_input(batch.backend, random_values(words * E, 1, 4));
        const auto position = float_input(batch.backend, random_values(positions * E, 1, 5));
        const auto segment = float_input(batch.backend, random_values(2 * E, 1, 6));
        const auto gamma = float_input(batch.backend, random_values(E, 1, 7));
        const auto beta = float_input(batch.backend, random_values(E, 1, 8));
        const Rows out = batch.output(batch.tokens(), E);
        batch.backend.embedding_forward(
            out.activations(), nullptr, nullptr, {tokens.device(), segments.device(), places.device()},
            {word.device(), position.device(), segment.device(), gamma.device(), beta.device(), 1e-12}, batch.tokens(),
            E, {});
        return of_tokens(batch, out.host());
    });
}

TEST_P(Batches, Products) {
    const Index H = GetParam().hidden(), E = GetParam().narrow, F = GetParam().wide;
    struct Shape {
        Index N, K;
    };
    for (const Shape& shape : {Shape{H, E}, {3 * H, H}, {H, H}, {F, H}, {H, F}}) {
        const Index N = shape.N, K = shape.K;
        SCOPED_TRACE(testing::Message() << N << " x " << K);
        Vector weights = random_values(N * K, 0.2, 1), biases = random_values(N, 1, 2);
        expect_same_bits("linear", [&](const Batch& batch) {
            const Rows x = batch.rows(K, 3), out = batch.output(batch.tokens(), N);
            const Tensor weight(batch.backend, weights), bias(batch.backend, biases);
            batch.backend.linear(out.activations(), x.activations(), weight.activations(), bias.activations(),
                                 batch.tokens(), N, K, {});
            return of_tokens(batch, out.host());
        });
        for (const Gelu form : {Gelu::erf, Gelu::tanh}) {
            if (N != F) continue;
            expect_same_bits("linear_gelu", [&](const Batch& batch) {
                const Rows x = batch.rows(K, 3), out = batch.output(batch.tokens(), N);
                const Tensor weight(batch.backend, weights), bias(batch.backend, biases);
                batch.backend.linear_gelu(out.activations(), {}, x.activations(), weight.activations(),
                                          bias.activations(), form, batch.tokens(), N, K, {});
                return of_tokens(batch, out.host());
            });
        }
    }
}

TEST_P(Batches, Attention) {
    const Index A = GetParam().heads, D = GetParam().head, H = GetParam().hidden();
    expect_same_bits("attention", [&](const Batch& batch) {
        const Rows qkv = batch.rows(3 * H, 1), out = batch.output(batch.tokens(), H);
        batch.backend.attention_forward(out.activations(), nullptr, qkv.activations(), batch.sequences.packed(), A, D,
                                        {});
        return of_tokens(batch, out.host());
    });
}

TEST_P(Batches, LayerNorm) {
    const Index H = GetParam().hidden();
    for (const bool with_residual : {false, true}) {
        expect_same_bits(with_residual ? "with a residual" : "alone", [&](const Batch& batch) {
            const Rows branch = batch.rows(H, 1), residual = batch.rows(H, 2);
            const auto gamma = float_input(batch.backend, random_values(H, 1, 3));
            const auto beta = float_input(batch.backend, random_values(H, 1, 4));
            batch.backend.residual_layer_norm(residual.activations(), nullptr, nullptr, branch.activations(),
                                              with_residual ? residual.activations() : Activations{}, gamma.device(),
                                              beta.device(), 1e-12, batch.tokens(), H, {});
            return of_tokens(batch, residual.host());
        });
    }
}

TEST_P(Batches, Tanh) {
    const Index H = GetParam().hidden();
    expect_same_bits("tanh", [&](const Batch& batch) {
        const Rows in = batch.rows(H, 1), out = batch.output(batch.tokens(), H);
        batch.backend.tanh_forward(out.activations(), in.activations(), batch.tokens() * H, {});
        return of_tokens(batch, out.host());
    });
}

TEST_P(Batches, WindowSum) {
    const Index W = 7, C = GetParam().narrow;
    expect_same_bits("window sum", [&](const Batch& batch) {
        const Rows taps = batch.rows(W * C, 1), out = batch.output(batch.tokens(), C);
        const auto bias = float_input(batch.backend, random_values(C, 1, 2));
        batch.backend.window_sum(out.activations(), taps.activations(), bias.device(), batch.sequences.packed(), W, C,
                                 {});
        return of_tokens(batch, out.host());
    });
}

TEST_P(Batches, Pooling) {
    const Index H = GetParam().hidden();
    const auto count = [](const Batch& batch) { return static_cast<Index>(batch.numbers.size()); };
    expect_same_bits("means", [&](const Batch& batch) {
        const Rows in = batch.rows(H, 1);
        Guarded<float> out(batch.backend, std::vector<float>(static_cast<std::size_t>(count(batch) * H)));
        batch.backend.mean_residues(out.device(), in.activations(), batch.sequences.packed(), H, {});
        return of_sequences(batch, bytes_of(out.host()));
    });
    expect_same_bits("first rows", [&](const Batch& batch) {
        const Rows in = batch.rows(H, 1);
        Guarded<float> out(batch.backend, std::vector<float>(static_cast<std::size_t>(count(batch) * H)));
        batch.backend.first_rows(out.device(), in.activations(), batch.sequences.packed(), H, {});
        return of_sequences(batch, bytes_of(out.host()));
    });
    const auto residues = [&](const Batch& batch, OutputType type, auto element) {
        Index rows = 0;
        for (const std::size_t s : batch.numbers) rows += std::max<Index>(0, lengths[s] - 2);
        const Rows in = batch.rows(H, 1);
        Guarded<decltype(element)> out(batch.backend,
                                       std::vector<decltype(element)>(static_cast<std::size_t>(rows * H)));
        batch.backend.extract_residues(out.device(), type, in.activations(), batch.sequences.packed(), H, {});
        return of_residues(batch, bytes_of(out.host()), static_cast<std::size_t>(H) * sizeof(element));
    };
    expect_same_bits("residues", [&](const Batch& batch) { return residues(batch, OutputType::float32, 0.0F); });
    expect_same_bits("halves",
                     [&](const Batch& batch) { return residues(batch, OutputType::float16, std::uint16_t{}); });
}

INSTANTIATE_TEST_SUITE_P(Sizes, Batches, testing::ValuesIn(sizes), [](const auto& one) {
    return "hidden_" + std::to_string(one.param.hidden()) + "_wide_" + std::to_string(one.param.wide);
});

}  // namespace
}  // namespace protalbert
