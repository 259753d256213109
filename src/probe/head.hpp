#pragma once
// A head: a window of features -> 32 channels, ReLU, dropout 0.25, then one window -> C for each kind of labels.
// Secondary structure: convolutions of width 7 along the residues. Localization: width 1, which is a dense layer, on
// the mean over a protein's residues; there the dropout comes before the ReLU, which is the same function, since the
// dropout's factor is never negative. Source: sacdallago/bio_embeddings annotation_inference_models.py.

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/backend.hpp"
#include "model/arena.hpp"
#include "model/model.hpp"
#include "probe/task.hpp"

namespace protalbert {

struct HeadConfig {
    Task task = Task::secondary_structure;
    std::int64_t features = 0;  ///< D
    std::int64_t channels = 32;
    std::int64_t window = 7;  ///< W
    double dropout = 0.25;
    std::vector<LabelKind> kinds;  ///< [K]
};

/// The published head of a task on D features.
HeadConfig head_config(Task task, std::int64_t features, const std::vector<LabelKind>& kinds);

/// One convolution. On the device its weight is [W, out, in], as products read it; in files [out, in, W], as in
/// PyTorch, or [out, in] for W = 1.
struct Convolution {
    std::string name;  ///< "hidden", or the kind of labels
    std::int64_t in = 0, out = 0, window = 1;
    std::int64_t weight = 0, bias = 0;  ///< first elements in the parameter array

    std::int64_t weight_size() const { return window * out * in; }
};

/// The convolutions and their places in one float32 array.
struct HeadLayout {
    Convolution hidden;
    std::vector<Convolution> outputs;  ///< [K]
    std::int64_t size = 0;             ///< elements of the array

    std::vector<Variable> variables() const;
    std::vector<Convolution> all() const;
};
HeadLayout make_head_layout(const HeadConfig& config);

/// Initial values [size] as PyTorch's Conv2d and Linear have them: weights and biases uniform within +-1 / sqrt(W in).
std::vector<float> initial_head(const HeadLayout& layout, std::uint64_t seed);

/// A weight between the device's order [W, out, in] and PyTorch's [out, in, W].
std::vector<float> to_file_order(const float* weight, const Convolution& convolution);
std::vector<float> from_file_order(const float* weight, const Convolution& convolution);

/// A head on a device.
struct Head {
    HeadConfig config;
    HeadLayout layout;
    Backend* backend = nullptr;
    DeviceMemory parameters;  ///< float32 [layout.size]

    float* at(std::int64_t offset) const { return parameters.as<float>() + offset; }
};
Head make_head(const HeadConfig& config, const std::vector<float>& values, Backend& backend);
std::vector<float> head_values(const Head& head);

/// Rows of some proteins on the device.
struct HeadBatch {
    PackedSequences sequences;
    Activations features;                     ///< [T, D]
    const std::int64_t* rows = nullptr;       ///< [T] number of each row among all proteins; for dropout alone
    std::vector<const std::int32_t*> labels;  ///< [K][T] -1: none; empty for prediction
};

/// Buffers of a forward and backward pass over at most T rows.
struct HeadWorkspace {
    DeviceMemory memory;
    Activations hidden;               ///< [T, channels] behind ReLU and dropout
    Activations dhidden;              ///< [T, channels]
    Activations taps;                 ///< [T, W, largest of channels and classes]
    std::vector<Activations> logits;  ///< [K][T, C]
    float* tap_biases = nullptr;      ///< [W, largest of channels and classes]
};
HeadWorkspace make_head_workspace(const Head& head, std::int64_t T, bool training);

/// Fills workspace.logits. `dropout`: of probability 0 for prediction; the head's before head_backward.
void head_forward(const Head& head, const HeadBatch& batch, const HeadWorkspace& workspace, const Dropout& dropout,
                  Stream stream);
/// Adds each kind's cross-entropy to sums [K] on the device. Behind head_forward; `scales` [K] as for classify; leaves
/// the logits' gradients in workspace.logits.
void head_losses(const Head& head, const HeadBatch& batch, const HeadWorkspace& workspace, LossSums* sums,
                 const std::vector<double>& scales, Stream stream);
/// gradients [layout.size] of the sum of the losses, overwritten. Behind head_losses.
void head_backward(const Head& head, const HeadBatch& batch, const HeadWorkspace& workspace, float* gradients,
                   Stream stream);

}  // namespace protalbert
