#pragma once
// The vectors of proteins that are longer than the model, from those of their windows.

#include <cstdint>

#include "data/vocabulary.hpp"
#include "embed/embedder.hpp"
#include "embed/plan.hpp"
#include "embed/share.hpp"
#include "embed/writer.hpp"

namespace protalbert {

/// What an embedder must hold for the batches of a plan: windows' vectors are blended in float32, whatever is written.
VectorChoice embedder_choice(const EmbedPlan& plan, const VectorChoice& choice);

/// Computes a batch of the plan's windowed ones, vectors.items of `work`; no other batch may be under way. Fills, as
/// chosen: vectors.residues, each the blend of its windows' (window_weights); vectors.mean, of these; and vectors.cls,
/// the mean of the windows' [CLS] rows: windows of a protein are of equal length, so that they count alike. The host
/// holds [residues of the batch, H] floats, the device plan.most_tokens.
void embed_windows(Embedder& embedder, const EmbedPlan& plan, const Work& work, const VectorChoice& choice,
                   const Vocabulary& vocabulary, BatchVectors& vectors);

}  // namespace protalbert
