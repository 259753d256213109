#pragma once
// The file of predictions: HDF5 with /ids, /lengths, /offsets, /status as in an embeddings file, and for each kind
// /KIND/probabilities float32 [rows, C] and /KIND/classes uint8 [rows] (index into the attribute `classes`). Rows are
// the residues of all proteins (secondary structure: those of protein i are offsets[i] .. offsets[i + 1] - 1) or the
// proteins themselves (localization: NaN and class 255 for a protein without prediction). A protein whose vectors are
// not finite has status 5, NaN and class 255, too.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "embed/proteins.hpp"
#include "io/hdf5.hpp"
#include "probe/head.hpp"

namespace protalbert {

constexpr std::uint8_t no_class = 255;

/// Creates the file with everything but predictions. Collective.
Hdf5File create_predictions(const std::string& path, const HeadConfig& config, const std::string& training,
                            const ProteinInput& input, const std::vector<std::uint32_t>& lengths,
                            const Communicator& communicator);

/// Writes consecutive rows of kind k; by any rank at any time.
void write_predictions(Hdf5File& file, const LabelKind& kind, std::uint64_t first_row,
                       std::span<const float> probabilities /*[rows, C]*/, std::span<const std::uint8_t> classes);

/// Says in /status that a protein's vectors are not finite; by any rank at any time.
void write_not_finite(Hdf5File& file, std::uint64_t protein);

/// The names of OUTPUT's files of label strings.
std::vector<std::string> fasta_paths(const std::string& output, const HeadConfig& config);

/// Label strings of a finished file as FASTA: OUTPUT.KIND.fasta with a letter a residue, or OUTPUT.localization.fasta
/// with headers as DeepLoc's and the classes' probabilities. By one rank. Returns the names.
std::vector<std::string> write_fasta(const std::string& predictions, const std::string& output,
                                     const HeadConfig& config);

}  // namespace protalbert
