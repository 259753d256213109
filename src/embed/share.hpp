#pragma once
// Shares the batches out to ranks by cost and brings every rank the residues that it will compute, so that ranks need
// nothing from each other afterwards.

#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.hpp"
#include "embed/plan.hpp"
#include "embed/proteins.hpp"

namespace protalbert {

/// A protein of a batch.
struct WorkItem {
    std::uint64_t protein = 0;    ///< number in the input
    std::uint64_t first_row = 0;  ///< of /residues: the lengths of all proteins before it
    std::uint64_t token = 0;      ///< its first residue in Work::tokens
    std::uint64_t length = 0;     ///< residues
};

struct WorkBatch {
    std::uint64_t number = 0;  ///< in the plan
    std::uint64_t first = 0;   ///< item
    std::uint64_t count = 0;   ///< items
};

/// One rank's work, longest proteins first.
struct Work {
    std::vector<WorkBatch> batches;
    std::vector<WorkItem> items;
    std::vector<std::uint8_t> tokens;  ///< residue ids
    double imbalance = 0;              ///< largest cost of a rank over the mean, minus 1

    std::span<const WorkItem> batch(std::size_t b) const { return {items.data() + batches[b].first, batches[b].count}; }
    std::span<const std::uint8_t> residues(const WorkItem& item) const {
        return {tokens.data() + item.token, item.length};
    }
};

/// Collective. `missing`: the batches still to do, ascending. Takes the residues out of `runs`, so that a rank never
/// holds more than its share twice.
Work share_work(const EmbedPlan& plan, const std::vector<std::uint32_t>& lengths,
                const std::vector<std::uint64_t>& missing, const std::vector<double>& costs,
                std::vector<ProteinRun>&& runs, const Communicator& communicator);

}  // namespace protalbert
