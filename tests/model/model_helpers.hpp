#pragma once
// What the model's tests share: random batches, and one forward and backward pass with everything brought back.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/random.hpp"
#include "model/model.hpp"
#include "model/training_workspace.hpp"

namespace protalbert {

/// How GoogleTest shows the parameter of a test.
inline void PrintTo(const ModelConfig& config, std::ostream* out) {
    std::string json = to_json(config);
    std::replace(json.begin(), json.end(), '\n', ' ');
    *out << json;
}

}  // namespace protalbert

namespace protalbert::testing {

inline Backend& cpu() {
    static const std::unique_ptr<Backend> backend = make_backend("cpu", Precision::float32, 0);
    return *backend;
}

/// A small model in which every size is different; H, F, E odd.
inline ModelConfig small_config() {
    ModelConfig config;
    config.layers = 3;
    config.hidden = 33;
    config.intermediate = 45;
    config.heads = 3;
    config.embedding = 13;
    config.positions = 40;
    config.vocabulary = 34;
    return config;
}

/// Every parameter random, biases and layer norms too, and large enough for every path to matter.
inline std::vector<float> random_parameters(const ParameterLayout& layout, std::uint64_t seed) {
    std::vector<float> values(static_cast<std::size_t>(layout.size), 0.0F);
    for (std::size_t p = 0; p < layout.parameters.size(); ++p) {
        const Parameter& parameter = layout.parameters[p];
        RandomStream random(seed, Purpose::bench, 1, p);
        const bool matrix = parameter.shape.size() == 2 && parameter.name.find("embeddings.") == std::string::npos;
        const double scale = 1 / std::sqrt(matrix ? static_cast<double>(parameter.shape[1]) : 4.0);
        for (std::int64_t i = 0; i < parameter.size; ++i) {
            const double normal = random.normal();
            values[static_cast<std::size_t>(parameter.offset + i)] =
                static_cast<float>(parameter.initializer == Initializer::ones ? 1 + 0.2 * normal : scale * normal);
        }
    }
    return values;
}

inline Model random_model(const ModelConfig& config, std::uint64_t seed = 1) {
    Model model = make_model(config, cpu());
    set_parameters(model, random_parameters(model.layout, seed));
    return model;
}

/// Sequences of the given lengths; about a third of the tokens is masked, the very first always.
inline PackedBatch random_batch(const ModelConfig& config, const std::vector<std::int64_t>& lengths,
                                std::uint64_t seed = 1) {
    PackedBatch batch;
    batch.clear();
    RandomStream random(seed, Purpose::bench, 2, 0);
    const auto vocabulary = static_cast<std::uint64_t>(config.vocabulary);
    for (const std::int64_t length : lengths) {
        for (std::int64_t t = 0; t < length; ++t) {
            if (batch.tokens.empty() || random.below(3) == 0) {
                batch.masked_positions.push_back(batch.token_count());
                batch.masked_labels.push_back(static_cast<std::int32_t>(random.below(vocabulary)));
            }
            batch.tokens.push_back(static_cast<std::int32_t>(random.below(vocabulary)));
            batch.segments.push_back(static_cast<std::int32_t>(random.below(2)));
            batch.positions.push_back(static_cast<std::int32_t>(t));
        }
        batch.cu_seqlens.push_back(batch.token_count());
        batch.sentence_labels.push_back(static_cast<std::int32_t>(random.below(2)));
        batch.samples.push_back(batch.samples.size());
        batch.places.push_back(static_cast<std::uint32_t>(batch.places.size()));
    }
    return batch;
}

/// Sequence s of a batch alone.
inline PackedBatch one_sequence(const PackedBatch& batch, std::size_t s) {
    PackedBatch one;
    one.clear();
    const std::int64_t begin = batch.cu_seqlens[s];
    const std::int64_t end = batch.cu_seqlens[s + 1];
    one.tokens.assign(batch.tokens.begin() + begin, batch.tokens.begin() + end);
    one.segments.assign(batch.segments.begin() + begin, batch.segments.begin() + end);
    one.positions.assign(batch.positions.begin() + begin, batch.positions.begin() + end);
    one.cu_seqlens.push_back(end - begin);
    for (std::size_t m = 0; m < batch.masked_positions.size(); ++m) {
        if (batch.masked_positions[m] < begin || batch.masked_positions[m] >= end) continue;
        one.masked_positions.push_back(batch.masked_positions[m] - begin);
        one.masked_labels.push_back(batch.masked_labels[m]);
    }
    one.sentence_labels.push_back(batch.sentence_labels[s]);
    one.samples.push_back(batch.samples[s]);
    one.places.push_back(batch.places[s]);
    return one;
}

struct Outcome {
    LossSums masked{};
    LossSums sentence{};
    std::vector<float> gradients;  ///< [layout.size]; empty after an evaluation

    double total(double masked_scale, double sentence_scale) const {
        return masked.loss * masked_scale + sentence.loss * sentence_scale;
    }
};

/// Runs micro-batches one after another into the same sums, in a workspace that is larger than any of them.
class Runner {
  public:
    explicit Runner(const Model& model, std::int64_t tokens = 100, std::int64_t sequences = 12,
                    std::int64_t masked = 80)
        : model_(model),
          workspace_(make_training_workspace(model, tokens, sequences, masked)),
          gradients_(cpu(), static_cast<std::size_t>(model.layout.size) * sizeof(float)),
          sums_(cpu(), 2 * sizeof(LossSums)) {}

    Outcome train(const std::vector<PackedBatch>& batches, double masked_scale, double sentence_scale,
                  const GradientReady& ready = {}) {
        cpu().set_zero(gradients_.data(), gradients_.bytes(), {});
        cpu().set_zero(sums_.data(), sums_.bytes(), {});
        for (const PackedBatch& batch : batches) {
            upload_batch(batch_, batch, cpu(), {});
            forward_backward(model_, batch_, *workspace_, gradients_.as<float>(), losses(), masked_scale,
                             sentence_scale, &batch == &batches.back() ? ready : GradientReady{}, {});
        }
        Outcome outcome = download_sums();
        outcome.gradients.resize(static_cast<std::size_t>(model_.layout.size));
        cpu().download(outcome.gradients.data(), gradients_.data(), gradients_.bytes(), {});
        cpu().synchronize({});
        return outcome;
    }
    Outcome evaluate_losses(const PackedBatch& batch) {
        cpu().set_zero(sums_.data(), sums_.bytes(), {});
        upload_batch(batch_, batch, cpu(), {});
        evaluate(model_, batch_, *workspace_, losses(), {});
        return download_sums();
    }
    const TrainingWorkspace& workspace() const { return *workspace_; }
    const float* gradients() const { return gradients_.as<float>(); }

  private:
    StepLosses losses() const { return {sums_.as<LossSums>(), sums_.as<LossSums>() + 1}; }
    Outcome download_sums() const {
        LossSums sums[2];
        cpu().download(sums, sums_.data(), sizeof(sums), {});
        cpu().synchronize({});
        return {sums[0], sums[1], {}};
    }

    const Model& model_;
    TrainingWorkspacePointer workspace_;
    DeviceMemory gradients_;
    DeviceMemory sums_;
    DeviceBatch batch_;
};

inline double largest(const float* values, std::int64_t n) {
    double most = 0;
    for (std::int64_t i = 0; i < n; ++i) most = std::max(most, std::abs(static_cast<double>(values[i])));
    return most;
}

/// Each parameter's gradient within `tolerance` of its largest element; a gradient that is mathematically zero (of the
/// key's bias: softmax does not see it) within `tolerance` of the largest of all.
inline void expect_same_gradients(const ParameterLayout& layout, const std::vector<float>& ours,
                                  const std::vector<float>& theirs, double tolerance, const std::string& what = "") {
    ASSERT_EQ(ours.size(), theirs.size());
    const double overall = largest(theirs.data(), layout.size);
    for (const Parameter& parameter : layout.parameters) {
        const float* const a = ours.data() + parameter.offset;
        const float* const b = theirs.data() + parameter.offset;
        double worst = 0;
        for (std::int64_t i = 0; i < parameter.size; ++i) {
            ASSERT_TRUE(std::isfinite(a[i])) << what << " " << parameter.name << " [" << i << "]";
            worst = std::max(worst, std::abs(static_cast<double>(a[i]) - b[i]));
        }
        const bool zero = parameter.name.find("key.bias") != std::string::npos;
        EXPECT_LE(worst, tolerance * (zero ? overall : largest(b, parameter.size))) << what << " " << parameter.name;
    }
}

}  // namespace protalbert::testing
