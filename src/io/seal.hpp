#pragma once
// A checksum behind HDF5's end over everything in a file but its large arrays, which have checksums of their own:
// damage is noticed by plain reads, before HDF5 follows a wrong pointer (version 1.10 crashes on some). HDF5 ignores
// what lies behind its end, and cuts it off when it opens the file for writing.
//
// The seal, little-endian uint64: [R][2] ranges of bytes left out, ascending; R; HDF5's end; XXH3 (64 bits, seed 0) of
// all bytes before the ranges that are not left out, then of the seal's own bytes before the checksum; "pa_seal1".

#include <cstdint>
#include <string>
#include <vector>

namespace protalbert {

/// Bytes [first, last) of a file.
struct ByteRange {
    std::uint64_t first = 0, last = 0;
};

/// Writes the seal behind HDF5's end (0: the file's end) into a closed file; `left_out` in any order, empty ranges
/// allowed. Returns the byte behind it. Throws Error.
std::uint64_t seal_file(const std::string& path, std::vector<ByteRange> left_out, std::uint64_t hdf5_end = 0);
/// Bytes of a seal with so many ranges that are not empty.
std::uint64_t seal_bytes(std::uint64_t ranges);

/// Throws InputError naming the file when its seal, which ends at byte `end` (0: with the file), does not fit its
/// content, or when there is something else behind HDF5's end. False: no seal, as in files of other programs.
bool check_seal(const std::string& path, std::uint64_t end = 0);

}  // namespace protalbert
