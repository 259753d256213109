#pragma once
// Lengths of a corpus that need not be there: those of a smaller one again and again, or a log-normal distribution,
// drawn for each sequence by its number.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.hpp"

namespace protalbert {

/// The default is UniRef100 of 2019: 216 million sequences of 88 billion residues, which are 407 on average. That the
/// logarithm is normal with a deviation of 0.67 is an assumption; the mean is met: 325 exp(0.67^2 / 2) = 407.
struct LengthModel {
    double median = 325;
    double deviation = 0.67;        ///< of the logarithm
    std::uint32_t longest = 45000;  ///< about what the longest known protein has
    std::uint64_t sequences = 216000000;
    std::string corpus;                  ///< file of a prepared corpus whose lengths count instead; empty: none
    std::vector<std::uint32_t> lengths;  ///< [its sequences] residues, once read

    /// Residues of sequence `number`: the same for everyone.
    std::uint32_t length(std::uint64_t number) const;
    /// Residues of the whole corpus, expected.
    std::uint64_t residues() const;
    /// For people: "log-normal, median 325, ...".
    std::string description() const;
};

/// --sequences, --corpus, --median, --deviation.
void add_length_options(CLI::App& command, LengthModel& lengths);

/// Reads the lengths of `lengths.corpus`, if one was named. Throws InputError when it is no corpus.
void read_lengths(LengthModel& lengths, const Communicator& communicator);

}  // namespace protalbert
