#pragma once
// Features from an encoder: its vectors are computed once, into a file beside the output, and read from there in every
// epoch. The file is that of protalbert_embed, so that an interrupted call continues; it is removed at the end.

#include <string>

#include "comm/communicator.hpp"
#include "probe/features.hpp"
#include "probe/labels.hpp"
#include "probe/probe.hpp"

namespace protalbert {

/// Vectors of the labelled proteins from source.embeddings, or computed from source.checkpoint into `scratch`. Pieces
/// of proteins are written to `scratch`.fasta first, and that removed again. Throws InputError for pieces that are too
/// long for the encoder.
Features encoder_features(const VectorSource& source, const std::string& scratch, const std::string& device,
                          const LabelledProteins& proteins, const Communicator& communicator);

/// Residues of the longest protein that an encoder takes. Collective.
std::int64_t encoder_residues(const std::string& checkpoint, const Communicator& communicator);

/// A checkpoint `file` of the same configuration and vocabulary with the initial values that pretraining from `seed`
/// would start with. Collective.
void write_untrained_checkpoint(const std::string& checkpoint, std::uint64_t seed, const std::string& file,
                                const Communicator& communicator);

}  // namespace protalbert
