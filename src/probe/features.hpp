#pragma once
// Where a head's features come from: an embeddings file, read in pieces as they are needed, or the residues themselves.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "io/hdf5.hpp"
#include "probe/labels.hpp"
#include "probe/left_out.hpp"

namespace protalbert {

struct Features {
    std::int64_t count = 0;  ///< D
    /// Fills [rows of the protein, D] for a protein of the label files that has vectors. Any rank, at any time.
    std::function<void(std::uint32_t protein, float* rows)> read;
    std::vector<WithoutVectors> missing;  ///< proteins of the label files that have none, ascending
    std::string description;
    std::string encoder;                ///< configuration as JSON; empty without one
    std::uint64_t checkpoint_hash = 0;  ///< of the encoder; 0 where unknown
};

/// Vectors of residues or proteins (by the task) from a flat file of protalbert_embed, matched by id. Nothing but ids,
/// offsets and the rows asked for is in memory. Collective. Throws InputError naming what does not fit: a protein that
/// the file has not or has with another length; reading throws it for vectors that do not fit their checksum or are
/// not finite.
Features embedding_features(const std::string& path, const LabelledProteins& proteins,
                            const Communicator& communicator);

/// The same from a file of the proteins' pieces (probe/pieces.hpp), with residue vectors, in the order of the proteins.
Features piece_features(const std::string& path, std::uint64_t piece_length, const LabelledProteins& proteins,
                        const Communicator& communicator);

/// A residue as 21 numbers of which one is 1; a protein as their mean.
Features one_hot_features(const std::shared_ptr<const Residues>& residues, Task task);

}  // namespace protalbert
