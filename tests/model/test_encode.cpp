// Inference against the training forward pass and against itself in other batches and slices, where a row's bits may
// not change, and what it needs of memory.

#include "model/cost.hpp"
#include "model/encoder_training.hpp"
#include "model_helpers.hpp"

namespace protalbert::testing {

namespace {

std::vector<float> download(Activations activations, std::int64_t elements) {
    std::vector<float> values(static_cast<std::size_t>(elements));
    cpu().download(values.data(), activations.data, values.size() * sizeof(float), {});
    cpu().synchronize({});
    return values;
}

/// Largest difference; infinite where something is not finite.
double difference(const std::vector<float>& a, const std::vector<float>& b) {
    EXPECT_EQ(a.size(), b.size());
    double worst = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (!std::isfinite(a[i]) || !std::isfinite(b[i])) return INFINITY;
        worst = std::max(worst, std::abs(static_cast<double>(a[i]) - b[i]));
    }
    return worst;
}

class Encode : public ::testing::TestWithParam<ModelConfig> {};

TEST_P(Encode, EqualsTrainingForwardPass) {
    const Model model = random_model(GetParam());
    const PackedBatch packed = random_batch(model.config, {11, 3, 20, 1, 8});
    const std::int64_t T = packed.token_count();
    const std::int64_t H = model.config.hidden;
    DeviceBatch batch;
    upload_batch(batch, packed, cpu(), {});
    const TrainingWorkspacePointer training = make_training_workspace(model, T, packed.sequence_count(), T);
    forward_encoder(model, batch, *training, {});
    const std::vector<float> expected = download(training->hidden, T * H);

    InferenceWorkspace workspace = make_inference_workspace(model, T + 7);
    // Slices of any size, also ones that do not divide the batch.
    for (const std::int64_t slice_rows : {workspace.slice_rows, T, std::int64_t{17}, std::int64_t{1}}) {
        workspace.slice_rows = slice_rows;
        std::vector<std::vector<float>> seen;
        const Activations last = encode(model, batch, workspace, {}, [&](std::int64_t block, Activations hidden) {
            EXPECT_EQ(block, static_cast<std::int64_t>(seen.size()));
            seen.push_back(download(hidden, T * H));
        });
        EXPECT_EQ(last.data, workspace.hidden.data);
        EXPECT_EQ(difference(download(last, T * H), expected), 0);
        // The observer sees every block's input and the last one's output, as the training pass stashes them.
        ASSERT_EQ(seen.size(), static_cast<std::size_t>(model.config.blocks() + 1));
        for (std::int64_t block = 0; block < model.config.blocks(); ++block) {
            const auto b = static_cast<std::size_t>(block);
            const AttentionStash stash =
                attention_stash(*training, model.config, static_cast<std::size_t>(model.layout.attention_of_block[b]),
                                training->attention_order.slot[b], T);
            EXPECT_EQ(difference(seen[b], download(stash.input, T * H)), 0) << "block " << block;
        }
        EXPECT_EQ(seen.back(), download(last, T * H));
    }
}

ModelConfig no_projection() {
    ModelConfig config = small_config();
    config.embedding = config.hidden;
    config.projection = false;
    return config;
}

/// The embeddings are the widest thing in it.
ModelConfig wide_embedding() {
    ModelConfig config = small_config();
    config.embedding = 150;
    config.inner = 2;
    config.sharing = Sharing::ffn;
    return config;
}

INSTANTIATE_TEST_SUITE_P(Cases, Encode, ::testing::Values(small_config(), no_projection(), wide_embedding()));

TEST(Encode, OneByOneAsPacked) {
    const Model model = random_model(small_config());
    const std::int64_t H = model.config.hidden;
    const PackedBatch packed = random_batch(model.config, {11, 3, 20, 1, 8});
    InferenceWorkspace workspace = make_inference_workspace(model, packed.token_count());
    DeviceBatch batch;
    upload_batch(batch, packed, cpu(), {});
    const std::vector<float> together = download(encode(model, batch, workspace, {}), packed.token_count() * H);
    for (std::size_t s = 0; s < packed.sentence_labels.size(); ++s) {
        const PackedBatch one = one_sequence(packed, s);
        upload_batch(batch, one, cpu(), {});
        const std::vector<float> alone = download(encode(model, batch, workspace, {}), one.token_count() * H);
        const auto begin = together.begin() + packed.cu_seqlens[s] * H;
        EXPECT_EQ(difference(alone, {begin, begin + one.token_count() * H}), 0) << "sequence " << s;
    }
}

TEST(Encode, RefusesWhatDoesNotFit) {
    const Model model = random_model(small_config());
    InferenceWorkspace workspace = make_inference_workspace(model, 10);
    DeviceBatch batch;
    upload_batch(batch, random_batch(model.config, {11}), cpu(), {});
    EXPECT_THROW(encode(model, batch, workspace, {}), Error);
    PackedBatch empty;
    empty.clear();
    upload_batch(batch, empty, cpu(), {});
    EXPECT_NO_THROW(encode(model, batch, workspace, {}));
}

TEST(Memory, EstimatesAreWhatIsAllocated) {
    const Model model = random_model(small_config());
    EXPECT_EQ(make_inference_workspace(model, 1234).memory.bytes(),
              static_cast<std::size_t>(inference_memory(model.config, 1234).activations));
    EXPECT_EQ(make_training_workspace(model, 123, 7, 45)->memory.bytes(),
              static_cast<std::size_t>(training_memory(model.config, 123, 7, 45).activations));
}

// ProtAlbert on a small machine: a protein of 35,000 residues in 8 GB, batches of 4096 tokens in 2.5 GB.
TEST(Memory, LongProteinsFit) {
    const ModelConfig config = preset("prot_albert");
    const MemoryEstimate longest = inference_memory(config, 35002);
    EXPECT_LT(longest.parameters + longest.activations, 4e9);
    const MemoryEstimate usual = inference_memory(config, 4096);
    EXPECT_LT(usual.parameters + usual.activations, 1.3e9);
}

}  // namespace

}  // namespace protalbert::testing
