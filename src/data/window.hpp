#pragma once
// Runs of sequences that the ranks read together: each run whole by one rank, the lengths known to all.

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.hpp"
#include "data/corpus.hpp"

namespace protalbert {

/// `count` sequences in runs of `run_length` (the last may be shorter). A sequence is addressed by its place 0 .. count
/// - 1 in the runs laid one after another.
struct Window {
    std::uint64_t run_length = 1;
    std::uint64_t count = 0;
    std::vector<std::uint64_t> first;    ///< [runs] number in the corpus of each run's first sequence
    std::vector<int> readers;            ///< [runs] rank that reads each run
    std::vector<std::uint32_t> lengths;  ///< [count] residues; the same on all ranks
    std::vector<Corpus::Piece> pieces;   ///< [runs] read; empty for the runs of other ranks

    std::uint64_t run_size(std::uint64_t run) const { return std::min(run_length, count - run * run_length); }
    int reader(std::uint64_t place) const { return readers[place / run_length]; }
    std::uint64_t sequence(std::uint64_t place) const { return first[place / run_length] + place % run_length; }
    /// Residues of a sequence of this rank's.
    std::span<const std::uint8_t> residues(std::uint64_t place) const;
};

/// Reads this rank's runs into `window.pieces` and makes `window.lengths` known; the rest is given, the same on all
/// ranks. `index` holds the runs that this rank reads; null: it is read with each. Collective; an error of one rank is
/// thrown on all.
void read_window(Window& window, const Corpus& corpus, const CorpusIndex* index, const Communicator& communicator);

}  // namespace protalbert
