#pragma once
// Second pass of the external shuffle: one corpus file from the spill files of all ranks.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "comm/communicator.hpp"
#include "data/corpus_statistics.hpp"
#include "data/failure_bell.hpp"
#include "data/spill.hpp"
#include "data/vocabulary.hpp"

namespace protalbert {

/// What a corpus file says about itself, the same on every rank.
struct CorpusDescription {
    const Vocabulary* vocabulary = nullptr;
    std::string part;     ///< "whole", "training" or "validation"
    std::string sources;  ///< names of the input files, one a line
    double holdout = 0;
    std::uint64_t seed = 0;
    bool ids = false;
};

/// Writes `file` (a temporary name; the caller renames) from the spill files beside `output`. `spill`: this rank's,
/// finished; `statistics`: over all ranks. `advance` (may be empty) hears the residues that this rank has written of
/// those that it will write. `group_bytes`: sorted at once. Returns the hash of the content. Collective.
std::uint64_t write_corpus_file(const std::filesystem::path& file, const std::filesystem::path& output,
                                const SpillWriter& spill, const CorpusStatistics& statistics,
                                const CorpusDescription& description, std::uint64_t group_bytes,
                                const std::function<void(std::uint64_t, std::uint64_t)>& advance,
                                const Communicator& communicator, FailureBell& bell);

}  // namespace protalbert
