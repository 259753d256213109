#pragma once
// The file of embeddings. Parallel HDF5 makes it complete first: tables written, vectors allocated as contiguous
// datasets, closed. Vectors are then placed by plain positioned writes, so that HDF5's metadata never changes again: a
// job killed at any moment leaves a readable file. Until the end it is called OUTPUT.part and carries, behind HDF5's
// last byte, a table of finished batches; a second call with the same command goes on from it.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "embed/proteins.hpp"
#include "embed/share.hpp"

namespace protalbert {

enum class ResidueVectors { none, float16, float32 };
enum class Layout { flat, per_protein };

/// Which vectors are written, and how.
struct VectorChoice {
    ResidueVectors residues = ResidueVectors::float32;
    bool mean = true;
    bool cls = true;
    Layout layout = Layout::flat;

    /// Bytes of an element of a residue's vector; 0 without them.
    std::uint64_t residue_bytes() const;
};

struct OutputSizes {
    std::uint64_t proteins = 0;    ///< N
    std::uint64_t residues = 0;    ///< rows of /residues
    std::uint64_t hidden = 0;      ///< H
    std::uint64_t batches = 0;     ///< B
    std::uint64_t longest_id = 1;  ///< bytes
};

/// Bytes of the whole file, HDF5's own left out.
std::uint64_t output_bytes(const VectorChoice& choice, const OutputSizes& sizes);

/// What the vectors depend on: two calls that agree in it do the same job.
struct JobIdentity {
    std::uint64_t input_hash = 0;       ///< ids and residues
    std::uint64_t checkpoint_hash = 0;  ///< parameters, configuration and vocabulary
    std::string options;                ///< what is written and how batches are formed
};

/// Attributes for readers of the file.
struct OutputDescription {
    std::string checkpoint;  ///< path
    std::uint64_t step = 0;
    std::string config;  ///< JSON
    std::string precision;
};

/// Where the embeddings `path` are while they are unfinished.
std::string part_path(const std::string& path);

/// An unfinished file and where its parts are, in bytes from its start.
struct OutputFile {
    std::string part_path;
    std::uint64_t progress = 0;           ///< ProgressEntry [B]
    std::uint64_t residues = 0;           ///< flat: [rows, H]
    std::uint64_t mean = 0;               ///< flat: float32 [N, H]
    std::uint64_t cls = 0;                ///< flat: float32 [N, H]
    std::uint64_t checksums = 0;          ///< flat: uint32 [N, 3]
    std::vector<std::uint64_t> proteins;  ///< per protein: each one's dataset [N]
    std::vector<std::uint64_t> done;      ///< [B] values of the progress as they were when opened
};

/// What the file says of a batch. Damage to it makes the batch undone, never done.
struct ProgressEntry {
    std::uint64_t value = 0;  ///< 0, or 1 + values that are not finite in that batch
    std::uint64_t check = 0;  ///< XXH3 of the value, seeded with the batch's number
};
ProgressEntry progress_entry(std::uint64_t batch, std::uint64_t value);

/// A protein's row of /checksums uint32 [N, 3] in the flat layout: of the bytes of its rows in /residues, /mean and
/// /cls, each the low half of XXH3 (64 bits) seeded with the protein's number; 0 for vectors that are not in the file.
struct VectorChecksums {
    std::uint32_t residues = 0, mean = 0, cls = 0;
};
std::uint32_t vector_checksum(std::uint64_t protein, const void* data, std::size_t bytes);

/// Proteins with a vector that is not finite.
struct NotFinite {
    std::vector<std::uint64_t> proteins;  ///< numbers, ascending, the same on every rank
    /// Whether float16 alone is the cause: what is not finite are infinite vectors of residues, in float16.
    bool float16_alone = true;
};

enum class OutputState { fresh, interrupted, finished };

/// Looks at PATH and PATH.part. A file of another job is an InputError that says what differs, unless `overwrite`.
/// A .part that was interrupted before its first vector, or that is no HDF5, counts as fresh. Collective.
OutputState find_output(const std::string& path, const JobIdentity& identity, bool overwrite,
                        const Communicator& communicator);

/// Throws InputError when the file system that will hold PATH has less than `bytes` free.
void require_room(const std::string& path, std::uint64_t bytes, const VectorChoice& choice, const OutputSizes& sizes,
                  const Communicator& communicator);

/// Makes PATH.part with everything but the vectors; those of proteins that are not embedded are NaN. Collective.
OutputFile create_output(const std::string& path, const VectorChoice& choice, const OutputSizes& sizes,
                         const JobIdentity& identity, const OutputDescription& description,
                         const std::vector<ProteinRun>& runs, const std::vector<std::uint32_t>& lengths,
                         const Communicator& communicator);

/// Opens PATH.part of an interrupted job. Collective.
OutputFile continue_output(const std::string& path, const OutputSizes& sizes, const Communicator& communicator);

/// The progress of all batches of an unfinished file, 0 where one is not done.
std::vector<std::uint64_t> read_progress(const OutputFile& file, const OutputSizes& sizes);

/// Gives the file its name; every batch must be done. The proteins of `not_finite` have /status 5 in it. Interrupted
/// while it writes that, the job starts anew. Collective.
void finish_output(const std::string& path, const OutputFile& file, const VectorChoice& choice,
                   const OutputSizes& sizes, const std::vector<std::uint32_t>& lengths, const NotFinite& not_finite,
                   const Communicator& communicator);

}  // namespace protalbert
