#pragma once
// What was read, replaced and skipped of sequence files, and what people should hear about them.

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.hpp"

namespace protalbert {

/// What the residues of an input, or of a part of it, look like.
struct InputContent {
    std::uint32_t input = 0;               ///< index on the command line
    std::uint32_t letters = 0;             ///< that occur, A in the lowest bit
    std::uint64_t records = 0;             ///< delivered
    std::uint64_t residues = 0;            ///< delivered
    std::uint64_t nucleotides = 0;         ///< of these: letters A C G T U N
    std::uint64_t nucleotide_records = 0;  ///< of nearly nothing else, but for the shortest
};

/// Counts for the closing summary, and what else people should hear about their input.
struct InputCounts {
    std::uint64_t records = 0;            ///< delivered
    std::uint64_t residues = 0;           ///< delivered
    std::uint64_t replaced_residues = 0;  ///< U Z O B read as X
    std::uint64_t unknown_letters = 0;    ///< read as X by InvalidLetters::unknown
    std::uint64_t stops = 0;              ///< trailing '*' dropped
    std::uint64_t skipped_records = 0;    ///< by InvalidLetters::skip, or marked
    std::uint64_t empty_records = 0;      ///< a header without residues: delivered with no tokens
    std::uint64_t comments = 0;           ///< lines skipped
    std::uint64_t latin1_ids = 0;         ///< that were not UTF-8
    /// A kind of remark and its first occurrence, at most one of a kind for each part.
    std::vector<std::string> remarks;
    std::vector<InputContent> contents;  ///< of the parts read; combined: of the inputs, ascending
};

/// Sums the counts of all ranks on every rank, and joins their remarks and contents. Collective.
void combine(InputCounts& counts, const Communicator& communicator);

/// What whoever gave the `inputs` should hear as a warning, a sentence each: the remarks, and which inputs look like
/// genes or labels and not like proteins. For counts of all ranks.
std::vector<std::string> warnings(const InputCounts& counts, const std::vector<std::string>& inputs);

}  // namespace protalbert
