#pragma once
// The two pretraining heads on the last hidden state: masked residues and sentence order.

#include "model/model.hpp"
#include "model/training_workspace.hpp"

namespace protalbert {

/// Adds the masked residues' loss to `sums`. With `gradients`: also the head's and the word table's gradients, and the
/// gradient of the masked rows to workspace.d_hidden, all times `scale`.
void masked_head(const Model& model, const DeviceBatch& batch, TrainingWorkspace& workspace, LossSums* sums,
                 float* gradients, double scale, Stream stream);

/// The same of the sentence task: pooler and classifier on each sequence's first token.
void sentence_head(const Model& model, const DeviceBatch& batch, TrainingWorkspace& workspace, LossSums* sums,
                   float* gradients, double scale, Stream stream);

}  // namespace protalbert
