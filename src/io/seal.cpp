#include "io/seal.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "base/error.hpp"
#include "base/positioned_file.hpp"

namespace protalbert {

namespace {

/// The seal's last bytes.
struct SealEnd {
    std::uint64_t ranges;
    std::uint64_t hdf5_end;
    std::uint64_t checksum;
    char magic[8];
};
constexpr char seal_magic[8] = {'p', 'a', '_', 's', 'e', 'a', 'l', '1'};

[[noreturn]] void refuse(const std::string& path, const std::string& what) {
    throw InputError(fmt::format("{} is damaged: {}; use another copy or make it anew", path, what));
}

/// XXH3 of the bytes of [0, end) that are in no range, and of the ranges themselves.
std::uint64_t sealed_checksum(const PositionedFile& file, const std::vector<ByteRange>& left_out, std::uint64_t end) {
    constexpr std::uint64_t piece = std::uint64_t{1} << 20;
    const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(), XXH3_freeState);
    PROTALBERT_CHECK(state != nullptr, "there is no memory for a checksum's state");
    XXH3_64bits_reset(state.get());
    std::vector<char> buffer(std::min(piece, end));
    const auto add = [&](std::uint64_t first, std::uint64_t last) {
        for (std::uint64_t at = first; at < last; at += piece) {
            const std::uint64_t count = std::min(piece, last - at);
            file.read(buffer.data(), count, at);
            XXH3_64bits_update(state.get(), buffer.data(), count);
        }
    };
    std::uint64_t at = 0;
    for (const ByteRange& range : left_out) {
        add(at, range.first);
        at = range.last;
    }
    add(at, end);
    const std::uint64_t numbers[] = {left_out.size(), end};
    XXH3_64bits_update(state.get(), left_out.data(), left_out.size() * sizeof(ByteRange));
    XXH3_64bits_update(state.get(), numbers, sizeof numbers);
    return XXH3_64bits_digest(state.get());
}

/// Where HDF5's own part of a file ends by its superblock; nothing when there is none that this program knows.
std::optional<std::uint64_t> hdf5_end(const PositionedFile& file) {
    // HDF5 File Format Specification 3.0, II.A: signature, version; in versions 2 and 3 with addresses of 8 bytes the
    // end of file address is the third address behind 12 bytes, in versions 0 and 1 behind 24 and 28.
    constexpr char signature[8] = {'\x89', 'H', 'D', 'F', '\r', '\n', '\x1a', '\n'};
    unsigned char block[64];
    if (file.size() < sizeof block) return std::nullopt;
    file.read(block, sizeof block, 0);
    if (std::memcmp(block, signature, sizeof signature) != 0) return std::nullopt;
    const int version = block[8];
    if (version > 3) return std::nullopt;
    const int size_of_offsets = version >= 2 ? block[9] : block[13];
    if (size_of_offsets != sizeof(std::uint64_t)) return std::nullopt;
    std::uint64_t end = 0;
    std::memcpy(&end, block + (version >= 2 ? 12 : version == 1 ? 28 : 24) + 2 * sizeof end, sizeof end);
    return end;
}

}  // namespace

std::uint64_t seal_bytes(std::uint64_t ranges) { return ranges * sizeof(ByteRange) + sizeof(SealEnd); }

std::uint64_t seal_file(const std::string& path, std::vector<ByteRange> left_out, std::uint64_t hdf5_end) {
    std::erase_if(left_out, [](const ByteRange& range) { return range.first >= range.last; });
    std::sort(left_out.begin(), left_out.end(),
              [](const ByteRange& left, const ByteRange& right) { return left.first < right.first; });
    const PositionedFile file(path, true);
    SealEnd end{left_out.size(), hdf5_end > 0 ? hdf5_end : file.size(), 0, {}};
    end.checksum = sealed_checksum(file, left_out, end.hdf5_end);
    std::memcpy(end.magic, seal_magic, sizeof seal_magic);
    const std::uint64_t bytes = left_out.size() * sizeof(ByteRange);
    file.write(left_out.data(), bytes, end.hdf5_end);
    file.write(&end, sizeof end, end.hdf5_end + bytes);
    return end.hdf5_end + seal_bytes(left_out.size());
}

bool check_seal(const std::string& path, std::uint64_t end) {
    const PositionedFile file(path, false);
    if (end == 0) end = file.size();
    const std::optional<std::uint64_t> known_end = hdf5_end(file);
    if (known_end && *known_end >= end) return false;  // nothing behind HDF5; one that was cut off is HDF5's to refuse
    SealEnd seal{};
    const bool room_for_one = end >= sizeof seal && end <= file.size();
    if (room_for_one) file.read(&seal, sizeof seal, end - sizeof seal);
    const bool marked = std::memcmp(seal.magic, seal_magic, sizeof seal_magic) == 0;
    if (!marked && !known_end) return false;  // no HDF5 file at all, or of a kind that others write
    if (!marked) refuse(path, "its end is neither HDF5's nor a seal");
    const std::uint64_t room = end - sizeof seal;
    if (seal.hdf5_end > room || seal.ranges > room / sizeof(ByteRange) ||
        seal.ranges * sizeof(ByteRange) != room - seal.hdf5_end)
        refuse(path, "its seal contradicts its size");
    std::vector<ByteRange> left_out(seal.ranges);
    file.read(left_out.data(), left_out.size() * sizeof(ByteRange), seal.hdf5_end);
    std::uint64_t at = 0;
    for (const ByteRange& range : left_out) {
        if (range.first < at || range.first >= range.last || range.last > seal.hdf5_end)
            refuse(path, "the ranges in its seal contradict each other");
        at = range.last;
    }
    if (sealed_checksum(file, left_out, seal.hdf5_end) != seal.checksum)
        refuse(path, "the checksum of its tables and attributes is wrong");
    return true;
}

}  // namespace protalbert
