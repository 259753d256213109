#pragma once
// ZIP archives whose entries are stored as they are, as torch.save writes them: where each entry's bytes lie.

#include <cstdint>
#include <string>
#include <vector>

#include "io/input_file.hpp"

namespace protalbert {

struct ZipEntry {
    std::string name;
    std::uint64_t position = 0;  ///< of its first byte in the file
    std::uint64_t bytes = 0;
};

/// All entries, in the order of their places. Throws InputError naming file and entry for damaged archives, entries
/// that overlap or leave the file, and compressed or encrypted ones, which torch.save never writes: nothing is unpacked
/// here.
std::vector<ZipEntry> list_zip(const InputFile& file);

}  // namespace protalbert
