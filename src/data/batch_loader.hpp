#pragma once
// The batches of a training step for one rank, prepared by a thread while the step before computes: windows of blocks
// are read by the ranks (disjoint blocks, whole), samples are shared out by cost, sequences travel over MPI, and each
// rank packs its samples into micro-batches. What is in a step depends on (seed, step) alone.

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "comm/communicator.hpp"
#include "data/corpus.hpp"
#include "data/epoch_order.hpp"
#include "data/packed_batch.hpp"
#include "data/sample.hpp"
#include "data/share_out.hpp"

namespace protalbert {

/// Everything a rank computes in one step.
struct StepBatch {
    std::uint64_t step = 0;
    std::vector<PackedBatch> micro_batches;  ///< each of at most batch_tokens tokens; may be empty on a rank
    // Over all ranks, the same everywhere: the denominators of losses and gradients.
    std::int64_t global_sequences = 0;
    std::int64_t global_tokens = 0;
    std::int64_t global_masked = 0;
    std::int64_t global_sentences = 0;      ///< with a sentence label
    std::int64_t global_micro_batches = 0;  ///< known for reproducible steps alone, else 0
    double imbalance = 0;                   ///< largest cost of a rank over the mean, minus 1
    double seconds = 0;                     ///< spent preparing it
};

/// Cost of a sample of `length` tokens, in any unit: FLOPs of the model's forward pass.
using SampleCost = std::function<double(std::int64_t length)>;

struct LoaderSettings {
    SampleSettings sample = {};
    std::int64_t global_batch = 0;  ///< sequences a step, met exactly
    std::int64_t batch_tokens = 0;  ///< largest micro-batch; a longer single sample makes one of its own
    BlockSettings blocks = {};
    bool reproducible = false;  ///< micro-batches are formed of the whole step and shared out whole, the same for any
                                ///< number of ranks; else each rank forms its own of its share
};

class BatchLoader {
  public:
    /// Collective. The loader duplicates the communicator for its thread and reads the index of the sequences that this
    /// rank will read, 12 bytes each, so that a block of residues is one read. The corpus must outlive the loader.
    /// Throws InputError for settings out of range, an empty corpus or a damaged index, Error without
    /// MPI_THREAD_MULTIPLE.
    BatchLoader(const Corpus& corpus, const LoaderSettings& settings, SampleCost cost,
                const Communicator& communicator);
    ~BatchLoader();

    /// The batch of `step`, which starts the preparation of `step + 1`. Collective in effect: every rank asks for the
    /// same steps. Any step may follow any other; only the successor is ready beforehand. Valid until the next call.
    /// Errors of the thread are thrown here, on every rank the same.
    const StepBatch& get(std::uint64_t step);

    /// Batches over the first `sequences` sequences of a corpus in their stored order, each once, with fixed masks
    /// (epoch 0): for validation. Not prefetched; the global batch is `global_batch` but for the last.
    static std::vector<StepBatch> validation_batches(const Corpus& corpus, std::uint64_t sequences,
                                                     const LoaderSettings& settings, const SampleCost& cost,
                                                     const Communicator& communicator);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace protalbert
