#pragma once
// What a corpus holds, for its attributes and the closing summary: counts, lengths, composition and its entropy.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "data/vocabulary.hpp"

namespace protalbert {

struct CorpusStatistics {
    /// Lengths below this are counted one by one, which makes percentiles exact; the longest known protein has about
    /// 45,000 residues.
    static constexpr std::size_t counted_lengths = 65536;

    std::uint64_t sequences = 0;
    std::uint64_t documents = 0;
    std::uint64_t residues = 0;
    std::uint64_t longest = 0;
    std::uint64_t longest_id = 0;                                                          ///< in bytes
    std::vector<std::uint64_t> lengths = std::vector<std::uint64_t>(counted_lengths + 1);  ///< the last: all longer
    /// Of each token id. Four tables to be summed, since an increment waits for the one before of the same residue.
    std::array<std::array<std::uint64_t, 256>, 4> counts{};

    void add_sequence(std::span<const std::uint8_t> tokens);
    /// Sums over ranks. Collective.
    void combine(const Communicator& communicator);

    /// Number of each token id.
    std::array<std::uint64_t, 256> composition() const;
    /// Entropy of the composition in nats: the loss of a model that knows composition alone.
    double entropy() const;
    /// Smallest length that `fraction` of the sequences do not exceed.
    std::uint64_t length_percentile(double fraction) const;
};

/// Lines for people: sequences, lengths, composition, entropy.
std::vector<std::string> describe(const CorpusStatistics& statistics, const Vocabulary& vocabulary);

}  // namespace protalbert
