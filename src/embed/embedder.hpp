#pragma once
// Computes the vectors of a packed batch on the model's device.

#include <cstdint>

#include "data/packed_batch.hpp"
#include "embed/output.hpp"
#include "embed/writer.hpp"
#include "model/model.hpp"
#include "model/weight_source.hpp"

namespace protalbert {

/// The model with buffers for the largest batch; nothing is allocated afterwards.
struct Embedder {
    const Model* model = nullptr;
    VectorChoice choice;
    InferenceWorkspace workspace;
    DeviceBatch batch;
    DeviceMemory residues;  ///< [most residues, H] float16 or float32
    DeviceMemory mean;      ///< [most sequences, H]
    DeviceMemory cls;       ///< [most sequences, H]
};

/// For batches of at most `tokens` tokens and `sequences` sequences.
Embedder make_embedder(const Model& model, const VectorChoice& choice, std::int64_t tokens, std::int64_t sequences);

/// Fills vectors.residues, mean and cls, as chosen, and waits for them.
void embed_batch(Embedder& embedder, const PackedBatch& batch, BatchVectors& vectors);

/// The weights of a checkpoint or Hugging Face folder into a model of the same configuration, one parameter at a time,
/// so that a second copy of the whole never exists. Collective. Returns a hash of the values.
std::uint64_t load_parameters(Model& model, const WeightSource& source, const Communicator& communicator);

}  // namespace protalbert
