// The vectors of proteins by windows on each device: on one whose memory the host does not reach, two sets of windows
// are under way at a time.

#include <cmath>
#include <cstring>

#include "base/random.hpp"
#include "embed/window_vectors.hpp"
#include "embed/windows.hpp"
#include "foundation/mpi_main.hpp"
#include "io/stored_tensor.hpp"
#include "kernels/cuda/cuda_backend.hpp"

namespace protalbert {
namespace {

constexpr std::uint64_t longest = 14;
constexpr std::size_t H = 32;

ModelConfig small_config(const Vocabulary& vocabulary) {
    ModelConfig config = preset("albert_base");
    config.layers = 2;
    config.hidden = H;
    config.heads = 2;
    config.intermediate = 64;
    config.embedding = 16;
    config.positions = static_cast<std::int64_t>(longest) + special_tokens;
    config.vocabulary = vocabulary.size();
    config.initializer_range = 0.2;
    return config;
}

/// Proteins of 60, 33 and 15 residues, as the work of one rank.
Work make_work(const Vocabulary& vocabulary) {
    Work work;
    RandomStream random(5, Purpose::bench, 0, 0);
    for (const std::uint64_t length : {60, 33, 15}) {
        work.items.push_back({work.items.size(), work.tokens.size(), work.tokens.size(), length});
        for (std::uint64_t i = 0; i < length; ++i)
            work.tokens.push_back(static_cast<std::uint8_t>(
                vocabulary.residue_ids[static_cast<unsigned char>("ACDEFGHIKL"[random.below(10)])]));
    }
    return work;
}

struct Vectors {
    std::vector<float> residues, mean, cls;
};

void expect_near(const std::vector<float>& one, const std::vector<float>& other, double tolerance) {
    ASSERT_EQ(one.size(), other.size());
    for (std::size_t i = 0; i < one.size(); ++i) ASSERT_NEAR(one[i], other[i], tolerance) << "value " << i;
}

std::vector<float> floats(const std::vector<std::byte>& bytes, std::size_t element_bytes) {
    std::vector<float> values;
    for (std::size_t at = 0; at < bytes.size(); at += element_bytes) {
        std::uint16_t half = 0;
        float value = 0;
        std::memcpy(element_bytes == 2 ? static_cast<void*>(&half) : &value, bytes.data() + at, element_bytes);
        values.push_back(element_bytes == 2 ? from_float16(half) : value);
    }
    return values;
}

/// Through embed_windows, and each window as a protein of its own with the blend added up in float64.
std::pair<Vectors, Vectors> compute(const std::string& device, ResidueVectors residues, std::int64_t batch_tokens) {
    const Vocabulary vocabulary = default_vocabulary();
    const ModelConfig config = small_config(vocabulary);
    const Work work = make_work(vocabulary);
    std::vector<std::uint32_t> lengths;
    for (const WorkItem& item : work.items) lengths.push_back(static_cast<std::uint32_t>(item.length));
    const EmbedPlan plan = plan_batches(lengths, batch_tokens, longest);
    VectorChoice choice;
    choice.residues = residues;
    const std::unique_ptr<Backend> backend = make_backend(device, Precision::float32, 1);
    // Enough is taken at first for all that follows.
    reserve_embed_memory(config, embedder_choice(plan, choice), plan.most_tokens, plan.most_sequences, *backend,
                         Communicator::world());
    Model model = make_model(config, *backend, ModelPart::encoder);
    set_parameters(model, [&](float* values, const Parameter& parameter) { initialise(values, parameter, config, 1); });
    Embedder embedder = make_embedder(model, embedder_choice(plan, choice), plan.most_tokens, plan.most_sequences,
                                      most_batches_under_way(model));
    Vectors found, expected;
    for (std::uint64_t b = 0; b < plan.batch_count(); ++b) {
        BatchVectors vectors;
        vectors.items = std::span(work.items).subspan(plan.batches[b], plan.batch(b).size());
        embed_windows(embedder, plan, work, choice, vocabulary, vectors);
        const auto append = [](std::vector<float>& to, const std::vector<float>& from) {
            to.insert(to.end(), from.begin(), from.end());
        };
        if (residues != ResidueVectors::none) append(found.residues, floats(vectors.residues, choice.residue_bytes()));
        append(found.mean, vectors.mean);
        append(found.cls, vectors.cls);
    }
    for (const WorkItem& item : work.items) {
        const std::vector<Window> windows = cut_windows(item.length, longest);
        std::vector<double> rows(item.length * H, 0.0), cls(H, 0.0), mean(H, 0.0);
        for (std::size_t w = 0; w < windows.size(); ++w) {
            PackedBatch batch;
            batch.clear();
            append_protein(batch, work.residues(item).subspan(windows[w].first, windows[w].length), 0, vocabulary);
            VectorChoice plain = choice;
            plain.residues = ResidueVectors::float32;
            BatchVectors vectors;
            start_batch(embedder, batch, plain);
            finish_batch(embedder, vectors);
            const std::vector<float> own = floats(vectors.residues, sizeof(float));
            const std::vector<double> weights = window_weights(windows, w);
            for (std::size_t i = 0; i < own.size(); ++i)
                rows[windows[w].first * H + i] += weights[i / H] * static_cast<double>(own[i]);
            for (std::size_t h = 0; h < H; ++h)
                cls[h] += static_cast<double>(vectors.cls[h]) / static_cast<double>(windows.size());
        }
        for (std::size_t i = 0; i < rows.size(); ++i) mean[i % H] += rows[i] / static_cast<double>(item.length);
        if (residues != ResidueVectors::none)
            expected.residues.insert(expected.residues.end(), rows.begin(), rows.end());
        expected.mean.insert(expected.mean.end(), mean.begin(), mean.end());
        expected.cls.insert(expected.cls.end(), cls.begin(), cls.end());
    }
    return {found, expected};
}

class WindowVectors : public testing::TestWithParam<std::string> {
  protected:
    void SetUp() override {
        if (GetParam() == "cuda" && cuda_devices().count == 0) GTEST_SKIP() << cuda_devices().none;
    }
};

TEST_P(WindowVectors, AreTheBlendOfTheWindows) {
    // One window at a time, several of a protein, and all of two proteins.
    for (const std::int64_t batch_tokens : {1, 50, 200}) {
        const auto [found, expected] = compute(GetParam(), ResidueVectors::float32, batch_tokens);
        EXPECT_GT(std::abs(found.mean[0] - found.mean[H]), 1e-3);
        // Rows near 1 that a GPU may add up in another order for another batch; a CPU adds float32's rounding of sums.
        expect_near(found.residues, expected.residues, 1e-5);
        expect_near(found.mean, expected.mean, 1e-5);
        expect_near(found.cls, expected.cls, 1e-5);
    }
    // Half of the last of float16's 11 bits, of values below 8.
    const auto [halves, expected] = compute(GetParam(), ResidueVectors::float16, 50);
    expect_near(halves.residues, expected.residues, 0x1p-9 + 1e-5);
    const auto [pooled, same] = compute(GetParam(), ResidueVectors::none, 50);
    expect_near(pooled.mean, same.mean, 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Devices, WindowVectors, testing::Values("cpu", "cuda"),
                         [](const auto& info) { return info.param; });

TEST(Float16, RoundsToTheNearest) {
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
        const auto half = static_cast<std::uint16_t>(bits);
        const float value = from_float16(half);
        if (std::isnan(value)) {
            EXPECT_TRUE(std::isnan(from_float16(to_float16(value))));
            continue;
        }
        EXPECT_EQ(to_float16(value), half);
        if ((bits & 0x7FFFU) >= 0x7BFFU) continue;
        // Half way to the next one: to the even one of both; a little less or more: to the nearer one.
        const float next = from_float16(static_cast<std::uint16_t>(bits + 1)), middle = (value + next) / 2;
        EXPECT_EQ(to_float16(middle), (bits & 1U) == 0 ? half : half + 1);
        EXPECT_EQ(to_float16(std::nextafter(middle, value)), half);
        EXPECT_EQ(to_float16(std::nextafter(middle, next)), half + 1);
    }
    EXPECT_EQ(to_float16(65519.996F), 0x7BFF);
    EXPECT_EQ(to_float16(65520.0F), 0x7C00);
    EXPECT_EQ(to_float16(-1e30F), 0xFC00);
}

}  // namespace
}  // namespace protalbert
