#pragma once
// A trained head as a file: HDF5 of format "protalbert head" with /parameters/NAME.weight and NAME.bias in PyTorch's
// shapes (convolutions [out, in, W], dense layers [out, in]), a checksum each, and attributes that say what it is.

#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "probe/head.hpp"

namespace protalbert {

struct HeadFile {
    HeadConfig config;
    std::vector<float> values;          ///< [layout.size], the device's order
    std::string encoder;                ///< configuration of the encoder as JSON; empty for one-hot residues
    std::uint64_t checkpoint_hash = 0;  ///< of the encoder's weights; 0 where unknown
    std::int64_t piece_length = 0;      ///< that the encoder saw proteins in; 0: whole
    std::string training;               ///< JSON: files, settings, epochs
};

/// Writes to a temporary name, syncs and renames. Collective. Throws Error or InputError.
void write_head(const std::string& path, const HeadFile& head, const Communicator& communicator);
/// Reads bit for bit what was written. Collective. Throws InputError naming the file for what is no head or damaged.
HeadFile read_head(const std::string& path, const Communicator& communicator);

/// Throws InputError unless features of `count` elements from `origin` fit the head; a warning when the head was
/// trained on other weights.
void check_features(const HeadFile& head, const std::string& path, std::int64_t count, std::uint64_t checkpoint_hash,
                    const std::string& origin, const Communicator& communicator);

}  // namespace protalbert
