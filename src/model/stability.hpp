#pragma once
// How much each iteration of the encoder changes the hidden states, as in figure 1 of the ALBERT paper.

#include <vector>

#include "model/model.hpp"

namespace protalbert {

/// From the input x to the output y of one iteration, each a token's hidden state of H features: sums over tokens, or
/// means.
struct IterationChange {
    double distance = 0;  ///< |y - x|, L2
    double cosine = 0;    ///< x.y / (|x| |y|)
    double degrees = 0;   ///< angle between x and y
    double norm = 0;      ///< |y|
};

/// Adds every token of the batch, special ones included, to `sums` [L], one for each iteration of model.config.layers.
/// The first iteration's input is the projected embedding.
void add_iteration_changes(std::vector<IterationChange>& sums, const Model& model, const DeviceBatch& batch,
                           InferenceWorkspace& workspace, Stream stream);

}  // namespace protalbert
