#pragma once
// Makes a corpus from sequence files: an external shuffle with bounded memory.
//
// 1. Ranks parse their parts of the input. Every document gets a random key, a function of (seed, file, position in the
//    file), and goes to the rank's spill file in buckets by the key's highest bits.
// 2. Each rank gathers its share of the buckets from all spill files, sorts them by key, and writes them to the output
//    at positions known from sums.
//
// The output does not depend on the number of ranks. It is written beside its place and renamed when complete.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "data/corpus_statistics.hpp"
#include "data/sequence_reader.hpp"
#include "data/vocabulary.hpp"

namespace protalbert {

struct CorpusSettings {
    std::vector<std::string> inputs;
    std::filesystem::path output;
    InputFormat format = InputFormat::automatic;
    InvalidLetters invalid = InvalidLetters::error;
    Vocabulary vocabulary;
    double holdout = 0;          ///< share of the sequences for validation, 0 <= holdout < 1
    std::uint64_t seed = 12345;  ///< of the order
    bool keep_ids = false;
    bool progress = true;  ///< whether to show it
    /// For the buffers of a rank, bytes; the output does not depend on it. Half of it is enough for chunks that disks
    /// like, and a rank rarely has less than 2 GiB.
    std::uint64_t memory = std::uint64_t{512} << 20;
    /// Residues after which a document of the text format is cut at the next sequence, to bound memory.
    std::uint64_t longest_document = longest_sequence;
};

/// One corpus file.
struct CorpusResult {
    std::filesystem::path file;
    CorpusStatistics statistics;
    std::uint64_t hash = 0;  ///< of the content
};

struct CorpusSummary {
    InputCounts counts;               ///< over all ranks
    std::uint64_t cut_documents = 0;  ///< longer than longest_document
    std::uint64_t input_bytes = 0;    ///< read, compressed where the input is
    double seconds = 0;
    double parse_seconds = 0;         ///< of the slowest rank's first pass
    std::vector<CorpusResult> files;  ///< the corpus, and the validation corpus when there is a holdout
};

/// Writes the corpus. Collective. Throws InputError for bad input and Error for failures, on all ranks alike, and then
/// leaves neither temporary files nor a changed output behind.
CorpusSummary write_corpus(const CorpusSettings& settings, const Communicator& communicator);

/// "corpus.h5" -> "corpus.validation.h5".
std::filesystem::path validation_path(const std::filesystem::path& output);

/// Prints the closing summary.
void print_summary(const CorpusSummary& summary, const Vocabulary& vocabulary);

}  // namespace protalbert
