#pragma once
// Computes the vectors of a packed batch on the model's device.

#include <cstdint>
#include <vector>

#include "comm/communicator.hpp"
#include "data/packed_batch.hpp"
#include "embed/output.hpp"
#include "embed/writer.hpp"
#include "model/model.hpp"
#include "model/weight_source.hpp"

namespace protalbert {

/// The model with buffers for the largest batch; nothing is allocated afterwards.
struct Embedder {
    /// The vectors of a batch under way, on the device and, for a device that the host does not reach, on the host.
    struct Output {
        DeviceMemory residues;  ///< [most residues, H] float16 or float32
        DeviceMemory mean;      ///< [most sequences, H]
        DeviceMemory cls;       ///< [most sequences, H]
        HostMemory host;        ///< residues, mean and cls one after another
        OwnEvent computed, copied;
        VectorChoice choice;                              ///< of the batch
        std::size_t residue_bytes = 0, pooled_bytes = 0;  ///< of the batch
    };
    const Model* model = nullptr;
    VectorChoice choice;  ///< the most that a batch is asked for
    InferenceWorkspace workspace;
    DeviceBatch batch;
    OwnStream copies;  ///< vectors travel to the host under the next batch's products
    std::vector<Output> outputs;
    std::size_t started = 0, finished = 0;  ///< batches so far
};

/// Two where the host does not reach the device's memory: one computes while the other's vectors travel. Else one.
std::size_t most_batches_under_way(const Model& model);

/// For batches of at most `tokens` tokens and `sequences` sequences, `under_way` of them at a time.
Embedder make_embedder(const Model& model, const VectorChoice& choice, std::int64_t tokens, std::int64_t sequences,
                       std::size_t under_way = 1);

/// Takes the memory of a model and its embedder at once where the device has its own. Throws InputError, with what is
/// missing and the --batch-tokens that would fit, where there is not enough. Warns of too little memory of a machine.
/// Collective.
void reserve_embed_memory(const ModelConfig& config, const VectorChoice& choice, std::int64_t tokens,
                          std::int64_t sequences, Backend& backend, const Communicator& communicator);

/// Enqueues a batch, for the vectors of `choice`, which are no more than the embedder's; fewer than `under_way` are
/// started and not finished.
void start_batch(Embedder& embedder, const PackedBatch& batch, const VectorChoice& choice);
void start_batch(Embedder& embedder, const PackedBatch& batch);
/// Fills vectors.residues, mean and cls, as chosen for it, of the batch started first, and waits for them.
void finish_batch(Embedder& embedder, BatchVectors& vectors);

/// Both for one batch.
void embed_batch(Embedder& embedder, const PackedBatch& batch, BatchVectors& vectors);

/// The weights of a checkpoint or Hugging Face folder into a model of the same configuration, one parameter at a time,
/// so that a second copy of the whole never exists. Collective. Returns a hash of the values.
std::uint64_t load_parameters(Model& model, const WeightSource& source, const Communicator& communicator);

}  // namespace protalbert
