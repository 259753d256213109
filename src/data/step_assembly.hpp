#pragma once
// From the choice of a step's sequences to each rank's packed micro-batches.

#include <cstdint>
#include <vector>

#include "comm/communicator.hpp"
#include "data/batch_loader.hpp"
#include "data/window.hpp"

namespace protalbert {

/// A sequence of the step and the one that `nsp` may take its second segment from, by their places in a window.
struct StepItem {
    const Window* window;
    std::uint32_t epoch;
    std::uint64_t place;
    std::uint64_t partner;  ///< equal to `place`: there is none
};

/// The samples of a step as decided from lengths alone, the same on every rank.
struct StepPlan {
    std::vector<SamplePlan> samples;  ///< [B]
    std::vector<std::uint32_t> rank;  ///< [B] that computes each sample
    double imbalance = 0;             ///< largest cost of a rank over the mean, minus 1
    /// The step's micro-batches as places in the global batch, ascending, where they are the step's (reproducible), not
    /// each rank's own.
    std::vector<std::vector<std::uint32_t>> micro_batches;
};
StepPlan plan_step(const std::vector<StepItem>& items, const LoaderSettings& settings, const SampleCost& cost,
                   int ranks);
/// Its second half: shares out samples that are chosen already.
void share_step(StepPlan& plan, const LoaderSettings& settings, const SampleCost& cost, int ranks);

/// Fills `batch` (whose memory is used again) with this rank's share: residues travel from the ranks that read them to
/// those that compute. `items` [B] in the order of the global batch, the same on every rank. Collective.
void assemble_step(StepBatch& batch, std::uint64_t step, const std::vector<StepItem>& items,
                   const LoaderSettings& settings, const SampleCost& cost, const Vocabulary& vocabulary,
                   const Communicator& communicator);

}  // namespace protalbert
