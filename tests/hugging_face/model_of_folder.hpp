#pragma once
// Models of Hugging Face folders, and what they compute.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "embed/plan.hpp"
#include "model/hugging_face.hpp"
#include "model/model_helpers.hpp"

namespace protalbert::testing {

inline std::vector<float> parameters_of(const HuggingFaceFolder& folder) {
    std::vector<float> values(static_cast<std::size_t>(folder.layout.size), 0.0F);
    for (std::size_t i = 0; i < folder.layout.parameters.size(); ++i)
        read_parameter(folder, i, values.data() + folder.layout.parameters[i].offset);
    return values;
}

inline Model model_of(const ModelConfig& config, const std::vector<float>& values) {
    Model model = make_model(config, cpu());
    set_parameters(model, values);
    return model;
}

/// Sequences of ids as they are, segment 0.
inline PackedBatch batch_of(const std::vector<std::vector<std::int32_t>>& sequences) {
    PackedBatch batch;
    batch.clear();
    for (const auto& tokens : sequences) {
        batch.tokens.insert(batch.tokens.end(), tokens.begin(), tokens.end());
        for (std::size_t i = 0; i < tokens.size(); ++i) batch.positions.push_back(static_cast<std::int32_t>(i));
        batch.segments.resize(batch.tokens.size(), 0);
        batch.cu_seqlens.push_back(batch.token_count());
        batch.sentence_labels.push_back(-1);
        batch.places.push_back(static_cast<std::uint32_t>(batch.samples.size()));
        batch.samples.push_back(batch.samples.size());
    }
    return batch;
}

/// The last hidden state [T, H] on the host.
inline std::vector<float> hidden_of(const Model& model, const PackedBatch& packed) {
    DeviceBatch batch;
    upload_batch(batch, packed, cpu(), {});
    InferenceWorkspace workspace = make_inference_workspace(model, packed.token_count());
    const Activations last = encode(model, batch, workspace, {});
    std::vector<float> values(static_cast<std::size_t>(packed.token_count() * model.config.hidden));
    cpu().download(values.data(), last.data, values.size() * sizeof(float), {});
    cpu().synchronize({});
    return values;
}

/// The largest difference over the largest value.
inline double deviation(const std::vector<float>& ours, const std::vector<float>& theirs) {
    if (ours.size() != theirs.size()) return INFINITY;
    double worst = 0;
    double most = 0;
    for (std::size_t i = 0; i < ours.size(); ++i) {
        if (!std::isfinite(ours[i])) return INFINITY;
        worst = std::max(worst, std::abs(static_cast<double>(ours[i]) - theirs[i]));
        most = std::max(most, std::abs(static_cast<double>(theirs[i])));
    }
    return worst / most;
}

}  // namespace protalbert::testing
