#pragma once
// Sharing work out: items to ranks by cost, and a rank's samples to micro-batches by tokens.

#include <cstdint>
#include <vector>

namespace protalbert {

/// Shares items of the given costs out to `parts` >= 1: largest first, each to the part with the least so far (Graham,
/// Bounds on multiprocessing timing anomalies, 1969). Returns the part of each item; equal costs go in the items'
/// order, equal parts in the parts', so that every rank finds the same. Where that leaves more than
/// half a per cent, best fit may do better. Also reports the imbalance: largest part over the mean, minus 1.
std::vector<std::uint32_t> share_out(const std::vector<double>& costs, int parts, double* imbalance = nullptr);

/// Groups items of the given lengths (tokens) into micro-batches of at most `batch_tokens` tokens, of similar sizes
/// rather than full ones and a small rest; a longer item alone makes its own. Each group lists its items ascending.
std::vector<std::vector<std::uint32_t>> group_by_tokens(const std::vector<std::int64_t>& lengths,
                                                        std::int64_t batch_tokens);

/// Largest micro-batch, in tokens, of a step whose micro-batches shall not depend on the number of ranks: at most
/// `batch_tokens`, and no more than makes 16 of a step's tokens, which 1, 2, 4, 8 and 16 ranks can share; but 512 are
/// enough, where a CPU's products are at their full rate. More ranks than a step has micro-batches leave some idle.
std::int64_t reproducible_batch_tokens(std::int64_t step_tokens, std::int64_t batch_tokens);

}  // namespace protalbert
