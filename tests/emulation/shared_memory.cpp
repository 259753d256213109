#include "tests/emulation/shared_memory.hpp"

#include <algorithm>

#include "tests/emulation/execution.hpp"

namespace emulation {
namespace {

constexpr std::uint32_t piece_bytes = 2;
/// What a block of compute capability 9.0 may have: the largest of the GPUs that are supported.
constexpr std::uint32_t most_bytes = 227 << 10;
/// Static arrays: what every GPU grants without being asked.
constexpr std::uint32_t most_static_bytes = 48 << 10;

bool ordered(std::uint32_t at_block, std::uint32_t at_warp, int other) {
    if (at_block < block_epoch) return true;
    return other / warp_size == this_thread().warp && at_warp < this_thread().warp_epoch;
}

}  // namespace

void SharedMemory::start_block(std::size_t dynamic_bytes) {
    if (bytes_.empty()) {
        bytes_.resize(most_bytes);
        pieces_.resize(most_bytes / piece_bytes);
    }
    std::fill_n(pieces_.begin(), used_ / piece_bytes, Piece{});
    arrays_.clear();
    dynamic_bytes_ = static_cast<std::uint32_t>(dynamic_bytes);
    used_ = (dynamic_bytes_ + 15) / 16 * 16;
    // NaN in every floating-point format.
    std::memset(bytes_.data(), 0xff, used_);
}

std::uint32_t SharedMemory::static_array(const void* key, const char* name, std::uint32_t bytes,
                                         std::uint32_t alignment) {
    for (const Array& array : arrays_) {
        if (array.key == key) return array.begin;
    }
    const std::uint32_t begin = (used_ + alignment - 1) / alignment * alignment;
    const std::uint32_t end = begin + (bytes + piece_bytes - 1) / piece_bytes * piece_bytes;
    const std::uint32_t first = arrays_.empty() ? begin : arrays_.front().begin;
    if (end - first > most_static_bytes || end > most_bytes)
        fail("has too much static shared memory: " + std::to_string(end - first) + " bytes");
    arrays_.push_back({key, name, begin, end});
    std::memset(bytes_.data() + begin, 0xff, end - begin);
    used_ = end;
    return begin;
}

std::string SharedMemory::name_of(std::uint32_t address) const {
    for (const Array& array : arrays_) {
        if (address >= array.begin && address < array.end) {
            return std::string(array.name) + " at byte " + std::to_string(address - array.begin);
        }
    }
    return "dynamic shared memory at byte " + std::to_string(address);
}

void SharedMemory::check_bounds(const char* what, std::uint32_t address, std::uint32_t bytes, std::uint32_t begin,
                                std::uint32_t end) const {
    if (address % bytes != 0 && address % 16 != 0) {
        fail(std::string(what) + " of " + std::to_string(bytes) + " bytes is not aligned: " + name_of(address));
    }
    if (address >= begin && address < end && bytes <= end - address) return;
    fail(std::string(what) + " out of bounds: byte " +
         std::to_string(static_cast<std::int64_t>(static_cast<std::int32_t>(address - begin))) + " of the " +
         std::to_string(end - begin) + " that begin at " + name_of(begin));
}

void SharedMemory::check_read(const Piece& piece, std::uint32_t address, bool by_warp) const {
    if (piece.state == Piece::unwritten) fail("reads what nobody wrote: " + name_of(address));
    if (piece.state == Piece::copying) {
        fail("reads what a cp.async of thread " + std::to_string(piece.writer) +
             " may still be writing (not waited for): " + name_of(address));
    }
    if (piece.written_at_block < block_epoch || (piece.writer == this_thread().number && !by_warp)) return;
    if (ordered(piece.written_at_block, piece.written_at_warp, piece.writer)) return;
    fail("reads what thread " + std::to_string(piece.writer) +
         " wrote, and no barrier between them: " + name_of(address));
}

void SharedMemory::check_write(const Piece& piece, std::uint32_t address) const {
    const Thread& self = this_thread();
    if (piece.state == Piece::copying) {
        fail("writes where a cp.async of thread " + std::to_string(piece.writer) +
             " may still be writing (not waited for): " + name_of(address));
    }
    if (piece.state == Piece::written && piece.writer != self.number &&
        !ordered(piece.written_at_block, piece.written_at_warp, piece.writer)) {
        fail("writes over what thread " + std::to_string(piece.writer) +
             " wrote, and no barrier between them: " + name_of(address));
    }
    if (piece.reader < 0 || piece.read_at_block < block_epoch) return;
    const bool alone = piece.reader == self.number && !piece.read_by_many;
    if (!piece.read_by_many_warps && (alone || ordered(piece.read_at_block, piece.read_at_warp, piece.reader))) return;
    fail("writes over what thread " + std::to_string(piece.reader) +
         " reads, and no barrier between them: " + name_of(address));
}

void SharedMemory::note_read(Piece& piece, bool by_warp) const {
    const Thread& self = this_thread();
    if (piece.read_at_block == block_epoch && piece.reader >= 0) {
        // Nothing new: a write is an error already, or this thread, or its warp, is noted.
        if (piece.read_by_many_warps) return;
        const bool noted =
            piece.read_by_many ? piece.reader / warp_size == self.warp : piece.reader == self.number && !by_warp;
        if (noted && piece.read_at_warp == self.warp_epoch) return;
    }
    if (piece.reader < 0 || piece.read_at_block < block_epoch) {
        piece.read_by_many = piece.read_by_many_warps = false;
        piece.reader = -1;
    } else if (piece.reader / warp_size != self.warp) {
        piece.read_by_many_warps = true;
    } else if (piece.read_at_warp < self.warp_epoch) {
        piece.read_by_many = false;
        piece.reader = -1;
    }
    if (by_warp || (piece.reader >= 0 && piece.reader != self.number)) piece.read_by_many = true;
    piece.reader = static_cast<std::int16_t>(self.number);
    piece.read_at_block = block_epoch;
    piece.read_at_warp = self.warp_epoch;
}

const std::byte* SharedMemory::read(std::uint32_t address, std::uint32_t bytes, std::uint32_t begin,
                                    std::uint32_t end) {
    check_bounds("read", address, bytes, begin, end);
    for (std::uint32_t byte = address; byte < address + bytes; byte += piece_bytes) {
        Piece& piece = pieces_[byte / piece_bytes];
        check_read(piece, byte, false);
        note_read(piece, false);
    }
    return bytes_.data() + address;
}

std::byte* SharedMemory::write(std::uint32_t address, std::uint32_t bytes, std::uint32_t begin, std::uint32_t end) {
    check_bounds("write", address, bytes, begin, end);
    for (std::uint32_t byte = address; byte < address + bytes; byte += piece_bytes) {
        Piece& piece = pieces_[byte / piece_bytes];
        check_write(piece, byte);
        piece.state = Piece::written;
        piece.writer = static_cast<std::int16_t>(this_thread().number);
        piece.written_at_block = block_epoch;
        piece.written_at_warp = this_thread().warp_epoch;
    }
    return bytes_.data() + address;
}

const std::byte* SharedMemory::read_by_warp(std::uint32_t address, std::uint32_t bytes) {
    for (std::uint32_t byte = address; byte < address + bytes; byte += piece_bytes) {
        Piece& piece = pieces_[byte / piece_bytes];
        check_read(piece, byte, true);
        note_read(piece, true);
    }
    return bytes_.data() + address;
}

void SharedMemory::start_copy(std::uint32_t address, std::uint32_t bytes, std::uint32_t begin, std::uint32_t end) {
    check_bounds("cp.async", address, bytes, begin, end);
    for (std::uint32_t byte = address; byte < address + bytes; byte += piece_bytes) {
        Piece& piece = pieces_[byte / piece_bytes];
        check_write(piece, byte);
        piece.state = Piece::copying;
        piece.writer = static_cast<std::int16_t>(this_thread().number);
    }
}

void SharedMemory::finish_copy(const void* from, std::uint32_t address, std::uint32_t bytes, std::uint32_t valid) {
    std::memset(bytes_.data() + address, 0, bytes);
    if (valid > 0) std::memcpy(bytes_.data() + address, from, valid);
    for (std::uint32_t byte = address; byte < address + bytes; byte += piece_bytes) {
        Piece& piece = pieces_[byte / piece_bytes];
        piece.state = Piece::written;
        piece.written_at_block = block_epoch;
        piece.written_at_warp = this_thread().warp_epoch;
    }
}

}  // namespace emulation
