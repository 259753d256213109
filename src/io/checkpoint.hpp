#pragma once
// Checkpoints: global arrays in parallel HDF5, readable by any number of ranks.
// /parameters/NAME, /optimizer/m/NAME, /optimizer/v/NAME float32 with a checksum attribute each; attributes step,
// samples, deck, config, program; /vocabulary; a seal over everything but the arrays. Knows tensors by name and shape,
// nothing of models.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.hpp"

namespace protalbert {

/// One array: the whole of it in host memory, the same on every rank.
struct NamedArray {
    std::string name;  ///< Hugging Face's
    std::vector<std::int64_t> shape;
    float* data = nullptr;  ///< [product of shape]
};

struct CheckpointHeader {
    std::uint64_t step = 0;
    std::uint64_t samples = 0;  ///< sequences consumed so far
    std::string deck;           ///< as TOML
    std::string config;         ///< JSON
    std::uint64_t corpus_hash = 0;
    std::vector<std::string> vocabulary;  ///< fewer pieces than config's vocab_size where the tables are padded
    std::string program;                  ///< that wrote the file: read, and ignored when writing
};

struct CheckpointArrays {
    std::vector<NamedArray> parameters;
    std::vector<NamedArray> m;  ///< empty: weights alone
    std::vector<NamedArray> v;
};

/// Writes `file` collectively: to a temporary name beside it, closed, synced, its checksums verified by reading back,
/// renamed when all is well. Rank 0 alone makes the HDF5 file, then all ranks share the writing by plain positioned
/// writes: whatever fails on one rank is thrown on all of them, and nothing hangs. Throws Error or InputError, with the
/// temporary file removed and `file`, if there was one, as before.
void write_checkpoint(const std::filesystem::path& file, const CheckpointHeader& header, const CheckpointArrays& arrays,
                      const Communicator& communicator);

/// Reads the header. Throws InputError naming the file when it is no checkpoint or damaged.
CheckpointHeader read_checkpoint_header(const std::filesystem::path& file, const Communicator& communicator);
/// Fills arrays by name (all parameters, and moments when asked for), verifies shapes and checksums; every rank gets
/// the whole. Throws InputError naming file and tensor for one that is missing, of another shape, damaged, or has
/// values that are NaN or infinite.
void read_checkpoint(const std::filesystem::path& file, const CheckpointArrays& arrays,
                     const Communicator& communicator);

/// "step_00000100.h5".
std::string checkpoint_name(std::uint64_t step);
/// Complete checkpoints in a folder, newest first (by step); empty when there is no folder.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& folder);
/// A file as it is, or the newest checkpoint of a folder. Throws InputError when there is none.
std::filesystem::path resolve_checkpoint(const std::filesystem::path& path);
/// Removes all but the `keep` newest checkpoints, those of steps that `keep_every` divides (0: none), and forgotten
/// temporary files; rank 0 alone calls it.
void prune_checkpoints(const std::filesystem::path& folder, int keep, std::int64_t keep_every = 0);

}  // namespace protalbert
