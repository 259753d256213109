#pragma once
// Losses of held-out sequences, over all ranks: the same for any number of them but for rounding.

#include <vector>

#include "comm/communicator.hpp"
#include "data/batch_loader.hpp"
#include "train/train_step.hpp"

namespace protalbert {

/// The batches of a validation corpus, made once: every validation sees the same residues masked.
struct Validation {
    std::vector<StepBatch> batches;
    std::int64_t masked = 0;     ///< over all ranks
    std::int64_t sentences = 0;  ///< over all ranks
};
Validation prepare_validation(const Corpus& corpus, const TrainSettings& settings, const SampleCost& cost,
                              const Communicator& communicator);

/// Mean losses with the model's parameters. Collective.
Losses validate(const Validation& validation, const Model& model, StepWorkspace& workspace,
                const Communicator& communicator);

}  // namespace protalbert
