// What an iteration changes, against the training forward pass and other formulas.

#include <numbers>

#include "model/encoder_training.hpp"
#include "model/stability.hpp"
#include "model_helpers.hpp"

namespace protalbert::testing {

namespace {

std::vector<double> download(Activations activations, std::int64_t elements) {
    std::vector<float> values(static_cast<std::size_t>(elements));
    cpu().download(values.data(), activations.data, values.size() * sizeof(float), {});
    cpu().synchronize({});
    return {values.begin(), values.end()};
}

/// Hidden states [T, H] before the first iteration and after each, as the training forward pass stashes them.
std::vector<std::vector<double>> hidden_states(const Model& model, const DeviceBatch& batch) {
    const std::int64_t T = batch.sequences.tokens;
    const std::int64_t elements = T * model.config.hidden;
    const TrainingWorkspacePointer training = make_training_workspace(model, T, batch.sequences.count, T);
    forward_encoder(model, batch, *training, {});
    std::vector<std::vector<double>> states;
    for (std::int64_t block = 0; block < model.config.blocks(); block += model.config.inner) {
        const auto b = static_cast<std::size_t>(block);
        const AttentionStash stash =
            attention_stash(*training, model.config, static_cast<std::size_t>(model.layout.attention_of_block[b]),
                            training->attention_order.slot[b], T);
        states.push_back(download(stash.input, elements));
    }
    states.push_back(download(training->hidden, elements));
    return states;
}

double length(const std::vector<double>& vector) {
    double squares = 0;
    for (const double value : vector) squares += value * value;
    return std::sqrt(squares);
}

/// The angle by Kahan's formula, without a scalar product.
double degrees_between(std::vector<double> x, std::vector<double> y) {
    const double x_length = length(x), y_length = length(y);
    std::vector<double> sum(x.size()), difference(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
        sum[i] = x[i] / x_length + y[i] / y_length;
        difference[i] = x[i] / x_length - y[i] / y_length;
    }
    return 2 * std::atan2(length(difference), length(sum)) * 180 / std::numbers::pi;
}

std::vector<IterationChange> expected_sums(const Model& model, const DeviceBatch& batch) {
    const std::int64_t H = model.config.hidden;
    const std::vector<std::vector<double>> states = hidden_states(model, batch);
    std::vector<IterationChange> sums(states.size() - 1);
    for (std::size_t i = 0; i + 1 < states.size(); ++i) {
        for (std::int64_t t = 0; t < batch.sequences.tokens; ++t) {
            const std::vector<double> x(states[i].begin() + t * H, states[i].begin() + (t + 1) * H);
            const std::vector<double> y(states[i + 1].begin() + t * H, states[i + 1].begin() + (t + 1) * H);
            std::vector<double> difference(x.size());
            for (std::size_t f = 0; f < x.size(); ++f) difference[f] = y[f] - x[f];
            const double degrees = degrees_between(x, y);
            sums[i].distance += length(difference);
            sums[i].cosine += std::cos(degrees * std::numbers::pi / 180);
            sums[i].degrees += degrees;
            sums[i].norm += length(y);
        }
    }
    return sums;
}

/// Of a token, in each figure's own unit: hidden states are of size 3 with 33 features and good to 1e-5
/// (test_encode.cpp), hence lengths near 10 to 1e-4, angles to 1e-5 rad or 1e-3 degrees.
void expect_near(const std::vector<IterationChange>& ours, const std::vector<IterationChange>& theirs, double tokens) {
    ASSERT_LE(theirs.size(), ours.size());
    for (std::size_t i = 0; i < theirs.size(); ++i) {
        EXPECT_NEAR(ours[i].distance, theirs[i].distance, 1e-4 * tokens) << "iteration " << i;
        EXPECT_NEAR(ours[i].cosine, theirs[i].cosine, 1e-5 * tokens) << "iteration " << i;
        EXPECT_NEAR(ours[i].degrees, theirs[i].degrees, 1e-3 * tokens) << "iteration " << i;
        EXPECT_NEAR(ours[i].norm, theirs[i].norm, 1e-4 * tokens) << "iteration " << i;
        EXPECT_GT(ours[i].degrees, 1 * tokens) << "a change that would be missed otherwise";
    }
}

std::vector<IterationChange> measured_sums(const Model& model, const DeviceBatch& batch) {
    InferenceWorkspace workspace = make_inference_workspace(model, batch.sequences.tokens);
    std::vector<IterationChange> sums(static_cast<std::size_t>(model.config.layers));
    add_iteration_changes(sums, model, batch, workspace, {});
    return sums;
}

ModelConfig changed(Sharing sharing, std::int64_t inner, std::int64_t layers = 3) {
    ModelConfig config = small_config();
    config.sharing = sharing;
    config.inner = inner;
    config.layers = layers;
    return config;
}

TEST(Stability, AsComputedFromTheTrainingPass) {
    for (const ModelConfig& config :
         {changed(Sharing::all, 1), changed(Sharing::none, 1), changed(Sharing::all, 2), changed(Sharing::ffn, 1)}) {
        const Model model = random_model(config);
        DeviceBatch batch;
        upload_batch(batch, random_batch(config, {11, 3, 20, 1, 8}), cpu(), {});
        expect_near(measured_sums(model, batch), expected_sums(model, batch), 43);
    }
}

// A shared layer iterated further: its weights are the same, its first iterations change nothing.
TEST(Stability, BeyondTheTrainedDepth) {
    const Model trained = random_model(changed(Sharing::all, 1, 3));
    const Model deeper = random_model(changed(Sharing::all, 1, 7));
    EXPECT_EQ(get_parameters(trained), get_parameters(deeper));
    DeviceBatch batch;
    upload_batch(batch, random_batch(trained.config, {11, 3, 20}), cpu(), {});
    const std::vector<IterationChange> sums = measured_sums(deeper, batch);
    expect_near(sums, measured_sums(trained, batch), 34);
    expect_near(sums, expected_sums(deeper, batch), 34);
}

TEST(Stability, AddsUpOverBatches) {
    const Model model = random_model(small_config());
    InferenceWorkspace workspace = make_inference_workspace(model, 40);
    std::vector<IterationChange> sums(3);
    DeviceBatch batch;
    for (const std::int64_t length : {11, 20}) {
        upload_batch(batch, random_batch(model.config, {length}), cpu(), {});
        const std::vector<IterationChange> before = sums;
        add_iteration_changes(sums, model, batch, workspace, {});
        const std::vector<IterationChange> expected = expected_sums(model, batch);
        for (std::size_t i = 0; i < sums.size(); ++i)
            EXPECT_NEAR(sums[i].distance - before[i].distance, expected[i].distance,
                        1e-4 * static_cast<double>(length));
    }
    std::vector<IterationChange> too_few(2);
    EXPECT_THROW(add_iteration_changes(too_few, model, batch, workspace, {}), Error);
}

}  // namespace

}  // namespace protalbert::testing
