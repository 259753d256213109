#pragma once
// The encoder's forward and backward pass for training.

#include "model/model.hpp"
#include "model/training_workspace.hpp"

namespace protalbert {

/// Fills the stashes and workspace.hidden [T, H] from the batch.
void forward_encoder(const Model& model, const DeviceBatch& batch, TrainingWorkspace& workspace, Stream stream);

/// From workspace.d_hidden [T, H], the gradient of the last hidden state, down to that of the first block's input,
/// again in d_hidden. Leaves the output gradient of every product in the stashes; adds the gradients of the layer norms
/// and of the biases in front of them and of the GELU.
void backward_encoder_data(const Model& model, const DeviceBatch& batch, TrainingWorkspace& workspace, float* gradients,
                           Stream stream);

/// Adds the gradients of projection and embeddings, from workspace.d_hidden.
void backward_embeddings(const Model& model, const DeviceBatch& batch, TrainingWorkspace& workspace, float* gradients,
                         Stream stream);

/// Adds the gradients of the weights and of QKV's biases from the stashes, one product a parameter over the tokens of
/// all blocks that use it (K = blocks x T), in the order of gradient_order. `announce` is called after each.
void backward_encoder_weights(const Model& model, const DeviceBatch& batch, TrainingWorkspace& workspace,
                              float* gradients, const std::function<void()>& announce, Stream stream);

}  // namespace protalbert
