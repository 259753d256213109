#pragma once
// A model on a device: its configuration, parameter array and the weights that products read.

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "data/packed_batch.hpp"
#include "kernels/backend.hpp"
#include "kernels/handles.hpp"
#include "model/model_config.hpp"
#include "model/parameters.hpp"

namespace protalbert {

struct Model {
    ModelConfig config;
    ParameterLayout layout;
    Backend* backend = nullptr;
    DeviceMemory parameters;  ///< float32 [layout.size]
    DeviceMemory copies;      ///< [layout.size] bfloat16; empty where products read the parameters themselves

    float* master(std::int64_t offset) const { return parameters.as<float>() + offset; }
    Weight weight(std::int64_t offset) const;
};

/// Allocates the arrays; values come from set_parameters.
Model make_model(const ModelConfig& config, Backend& backend, ModelPart part = ModelPart::whole);
void set_parameters(Model& model, const std::vector<float>& values /*[layout.size], host*/);
/// The same with one parameter at a time on the host, filled by `fill(values [parameter.size], parameter)`.
void set_parameters(Model& model, const std::function<void(float*, const Parameter&)>& fill);
std::vector<float> get_parameters(const Model& model);

/// A packed batch on the device; its memory grows to the largest batch seen and stays.
struct DeviceBatch {
    PackedSequences sequences;
    EmbeddingIds ids{};
    const std::int64_t* masked_positions = nullptr;  ///< [M]
    const std::int32_t* masked_labels = nullptr;     ///< [M]
    const std::int64_t* first_tokens = nullptr;      ///< [S] index of each [CLS]
    const std::int32_t* sentence_labels = nullptr;   ///< [S]
    std::int64_t masked = 0;                         ///< M
    // The largest of each: a batch that does not fit the model is refused before anything reads beyond a table.
    std::int32_t largest_token = 0;
    std::int32_t largest_position = 0;
    std::vector<std::int64_t> host_offsets;  ///< [S + 1]
    DeviceMemory memory;
    /// Everything as it is uploaded. Two take turns: the host fills one while the other is on its way.
    struct Staging {
        HostMemory memory;
        OwnEvent uploaded;
    };
    std::array<Staging, 2> staging;
    std::size_t turn = 0;
};
/// Bytes on the device of a batch of T tokens, S sequences and M masked positions.
std::size_t device_batch_bytes(std::int64_t T, std::int64_t S, std::int64_t M);
/// Room for batches of at most these numbers: their uploads allocate nothing.
void reserve_batch(DeviceBatch& device, std::int64_t T, std::int64_t S, std::int64_t M, Backend& backend);
/// Enqueues the upload behind what `stream` does; the host waits only while the last but one is on its way. Masked
/// positions and sentence labels may be left out of `batch`.
void upload_batch(DeviceBatch& device, const PackedBatch& batch, Backend& backend, Stream stream);

// Inference

/// Buffers for the forward pass without a backward one, for at most `tokens` tokens. Products run over slices of rows,
/// so that the feed-forward buffer stays small however long a protein is: it takes turns with queries, keys and values,
/// and a workspace has 5 H elements a token (H = 4096, float32: 80 KiB).
struct InferenceWorkspace {
    DeviceMemory memory;
    std::int64_t tokens = 0;
    Activations hidden;    ///< [T, H] the current block's input, at the end the last hidden state
    Activations attended;  ///< [T, H] also the output of the feed-forward part, [slice_rows, H]
    // Of one piece of memory, never needed at once:
    Activations embedded;  ///< [T, E]
    Activations qkv;       ///< [T, 3H]
    Activations branch;    ///< [T, H] output of the attention part
    Activations slice;     ///< [slice_rows, F]
    std::int64_t slice_rows = 0;
};
InferenceWorkspace make_inference_workspace(const Model& model, std::int64_t tokens);

/// Called after the projection (block 0) and after each block (1 ..) with the hidden state [T, H].
using BlockObserver = std::function<void(std::int64_t block, Activations hidden)>;

/// The last hidden state [T, H], in workspace.hidden.
Activations encode(const Model& model, const DeviceBatch& batch, InferenceWorkspace& workspace, Stream stream,
                   const BlockObserver& observe = {});

// Training

/// What a backward pass needs, kept for every block, and the output gradients of every product: for at most the given
/// numbers. The stashes of blocks that share a parameter are contiguous, so that its gradient is one product.
struct TrainingWorkspace;
struct TrainingWorkspaceDeleter {
    void operator()(TrainingWorkspace* workspace) const;
};
using TrainingWorkspacePointer = std::unique_ptr<TrainingWorkspace, TrainingWorkspaceDeleter>;
TrainingWorkspacePointer make_training_workspace(const Model& model, std::int64_t tokens, std::int64_t sequences,
                                                 std::int64_t masked);

/// Sums of the losses of a step on the device.
struct StepLosses {
    LossSums* masked = nullptr;
    LossSums* sentence = nullptr;
};

/// Called with a range of the gradient array as soon as it is final for this batch.
using GradientReady = std::function<void(std::int64_t offset, std::int64_t size)>;

/// Forward and backward of both losses. Gradients [layout.size] accumulate. masked_scale = 1 / global masked count,
/// sentence_scale = 1 / global sentence labels (0: no sentence task). `ready` (may be empty; given for the last
/// micro-batch) hears every range of the array exactly once, in the same order on every rank: heads and embeddings
/// while the weights' gradients are still to come, then those, largest first.
void forward_backward(const Model& model, const DeviceBatch& batch, TrainingWorkspace& workspace, float* gradients,
                      StepLosses losses, double masked_scale, double sentence_scale, const GradientReady& ready,
                      Stream stream);
/// Calls `ready` for every range in the order of forward_backward: for a rank without a micro-batch.
void announce_gradients(const Model& model, const GradientReady& ready);

/// Losses alone, for validation; adds to `losses` (sentence null: no sentence task).
void evaluate(const Model& model, const DeviceBatch& batch, TrainingWorkspace& workspace, StepLosses losses,
              Stream stream);

}  // namespace protalbert
