#pragma once
// Runs of sequences that the ranks read together: each run whole by one rank, the lengths known to all.

#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.hpp"
#include "data/corpus.hpp"

namespace protalbert {

/// `count` sequences in runs of `run_length` (the last may be shorter). A sequence is addressed by its place 0 .. count
/// - 1 in the runs laid one after another; run j belongs to rank j mod ranks.
struct Window {
    std::uint64_t run_length = 1;
    std::uint64_t count = 0;
    std::vector<std::uint64_t> first;    ///< [runs] number in the corpus of each run's first sequence
    std::vector<std::uint32_t> lengths;  ///< [count] residues; the same on all ranks
    std::vector<Corpus::Piece> pieces;   ///< [runs] read; empty for the runs of other ranks

    int owner(std::uint64_t place, int ranks) const { return static_cast<int>(place / run_length % ranks); }
    std::uint64_t sequence(std::uint64_t place) const { return first[place / run_length] + place % run_length; }
    /// Residues of a sequence of this rank's.
    std::span<const std::uint8_t> residues(std::uint64_t place) const;
};

/// Reads this rank's runs and makes the lengths known. Collective; an error of one rank is thrown on all.
Window read_window(const Corpus& corpus, std::vector<std::uint64_t> first, std::uint64_t run_length,
                   std::uint64_t count, const Communicator& communicator);

}  // namespace protalbert
