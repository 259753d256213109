#pragma once
// What is computed together: proteins by length, longest first, packed to a budget of tokens. A function of the lengths
// alone: neither ranks nor an interruption change a batch.

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "data/packed_batch.hpp"
#include "data/vocabulary.hpp"
#include "model/model_config.hpp"

namespace protalbert {

/// Special tokens around every protein: [CLS] and [SEP].
constexpr std::int64_t special_tokens = 2;

struct EmbedPlan {
    std::vector<std::uint32_t>
        order;  ///< [n] numbers of the proteins with residues, longest first, equal ones in order
    std::vector<std::uint64_t> batches;  ///< [B + 1] where each batch begins in `order`
    std::int64_t most_tokens = 0;        ///< that go through the model at once
    std::int64_t most_sequences = 0;     ///< that go through the model at once

    /// The first batches, of the proteins that are longer than `longest` residues, each by windows of `longest`, of
    /// which so many go through the model together.
    std::uint64_t windowed_batches = 0;
    std::uint64_t longest = 0;
    std::int64_t windows_together = 1;

    std::uint64_t batch_count() const { return batches.size() - 1; }
    /// Numbers of a batch's proteins.
    std::span<const std::uint32_t> batch(std::uint64_t number) const {
        return {order.data() + batches[number], batches[number + 1] - batches[number]};
    }
};

constexpr std::uint64_t without_windows = std::numeric_limits<std::uint64_t>::max();

/// lengths [N] in residues; those of length 0 are left out. A protein beyond the budget makes a batch of its own, which
/// goes through the model at once unless it is longer than `longest`. Throws InputError for more than 2^32 proteins.
EmbedPlan plan_batches(const std::vector<std::uint32_t>& lengths, std::int64_t batch_tokens,
                       std::uint64_t longest = without_windows);

/// FLOPs of each batch's forward pass [B].
std::vector<double> batch_costs(const EmbedPlan& plan, const std::vector<std::uint32_t>& lengths,
                                const ModelConfig& config);

/// Appends [CLS] r1 .. rn [SEP], segment 0.
void append_protein(PackedBatch& batch, std::span<const std::uint8_t> residues, std::uint64_t number,
                    const Vocabulary& vocabulary);

}  // namespace protalbert
