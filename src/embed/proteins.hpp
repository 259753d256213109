#pragma once
// The proteins to embed: read by all ranks, numbered in input order, and held in memory in about equal shares.

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "data/sequence_reader.hpp"
#include "data/vocabulary.hpp"

namespace protalbert {

/// What became of a protein; /status in the output.
enum class Treatment : std::uint8_t {
    embedded = 0,
    empty = 1,      ///< a header without residues
    too_long = 2,   ///< longer than the position table minus [CLS] and [SEP]
    skipped = 3,    ///< has a letter that is no residue
    windowed = 4,   ///< embedded, longer than the position table: by windows
    not_finite = 5  ///< embedded, but some of its values are infinite or no numbers
};
constexpr int treatments = 6;
/// Whether a protein, as it was read, goes through the model.
constexpr bool has_vectors(Treatment treatment) {
    return treatment == Treatment::embedded || treatment == Treatment::windowed;
}

/// What happens to a protein that is longer than the model's position table: refused, kept without vectors, or embedded
/// by windows that overlap.
enum class TooLong { error, skip, window };

/// Consecutive proteins of the input, held by one rank. A protein without vectors has length 0.
struct ProteinRun {
    std::uint64_t first = 0;                ///< number of its first protein in the input
    std::uint32_t part = 0;                 ///< piece of the input that it was read from
    std::vector<std::uint32_t> lengths;     ///< [n] residues
    std::vector<Treatment> treatments;      ///< [n]
    std::vector<std::uint8_t> tokens;       ///< [sum of lengths] residue ids
    std::vector<std::uint32_t> id_lengths;  ///< [n] bytes
    std::string ids;                        ///< one after another

    std::uint64_t count() const { return lengths.size(); }
};

/// Everything that was read. `runs` are this rank's, ascending; all other fields are the same on every rank.
struct ProteinInput {
    std::vector<ProteinRun> runs;
    std::uint64_t proteins = 0;              ///< N
    std::uint64_t residues = 0;              ///< of the proteins that will be embedded
    std::uint64_t treated[treatments] = {};  ///< proteins by Treatment
    std::uint64_t replaced_residues = 0;     ///< U Z O B read as X
    std::uint64_t unknown_letters = 0;       ///< other letters read as X
    std::uint64_t stops = 0;                 ///< trailing '*' dropped
    std::uint64_t comments = 0;              ///< lines skipped
    std::uint64_t latin1_ids = 0;            ///< that were not UTF-8
    std::uint64_t duplicate_ids = 0;         ///< proteins whose id another one before them has
    std::uint64_t longest_id = 1;            ///< bytes
    std::uint64_t hash = 0;                  ///< of ids, residues and treatments, for any number of ranks

    std::uint64_t without_vectors() const {
        return proteins - treated[static_cast<int>(Treatment::embedded)] -
               treated[static_cast<int>(Treatment::windowed)];
    }
};

/// Reads all inputs. A rank's memory holds its share of the residues, wherever they were read (also of one gzip file),
/// and 64 MiB in passing. `longest` residues fit the model. Throws InputError for bad letters (by `invalid`) and for
/// too long proteins (by `too_long`, with a message that offers the other two as values of --too-long).
ProteinInput read_proteins(const std::vector<std::string>& inputs, InputFormat format, InvalidLetters invalid,
                           TooLong too_long, std::uint64_t longest, const Vocabulary& vocabulary,
                           const Communicator& communicator);

/// Lengths of all proteins [N], on every rank: 4 bytes a protein.
std::vector<std::uint32_t> gather_lengths(const ProteinInput& input, const Communicator& communicator);

}  // namespace protalbert
