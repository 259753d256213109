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

// A stamp is one number, so that the frequent question "was this before the last barrier?" is one comparison. From the
// highest bit: copying (1), barriers of the block that came before, and one (24), barriers of the warp (24), several
// warps (1), several lanes (1), thread (10; of several lanes, the first of the warp).
constexpr std::uint64_t copying = std::uint64_t{1} << 63;
constexpr int block_shift = 39, warp_shift = 15;
constexpr std::uint64_t epoch_mask = (1U << 24) - 1;
constexpr std::uint64_t several_warps = 1U << 14, several_lanes = 1U << 13, thread_mask = (1U << 10) - 1;

std::uint64_t block_stamp() { return std::uint64_t{block_epoch + 1} << block_shift; }
std::uint64_t stamp() {
    const Thread& self = this_thread();
    return block_stamp() | std::uint64_t{self.warp_epoch} << warp_shift | static_cast<std::uint64_t>(self.number);
}
/// Of some lanes of this thread's warp.
std::uint64_t warp_stamp() { return (stamp() & ~std::uint64_t{warp_size - 1}) | several_lanes; }

int thread_of(std::uint64_t stamp) { return static_cast<int>(stamp & thread_mask); }
bool of_this_warp(std::uint64_t stamp) { return thread_of(stamp) / warp_size == this_thread().warp; }
/// Whether a barrier of the block or, within one warp, __syncwarp came between the stamp and this thread.
bool ordered(std::uint64_t stamp) {
    if (stamp < block_stamp()) return true;
    return (stamp & several_warps) == 0 && of_this_warp(stamp) &&
           (stamp >> warp_shift & epoch_mask) < this_thread().warp_epoch;
}

/// The stamp of all reads when this thread, or its warp, reads too.
std::uint64_t with_read(std::uint64_t before, bool by_warp) {
    const std::uint64_t now = by_warp ? warp_stamp() : stamp();
    if (before == 0 || ordered(before) || before == now) return now;
    return of_this_warp(before) && (before & several_warps) == 0 ? warp_stamp() : block_stamp() | several_warps;
}

std::string reader_of(std::uint64_t read) {
    if ((read & several_warps) != 0) return "several warps read";
    if ((read & several_lanes) != 0) return "warp " + std::to_string(thread_of(read) / warp_size) + " reads";
    return "thread " + std::to_string(thread_of(read)) + " reads";
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

void SharedMemory::fail_bounds(const char* what, std::uint32_t address, std::uint32_t bytes, std::uint32_t begin,
                               std::uint32_t end) const {
    if (address % bytes != 0 && address % 16 != 0) {
        fail(std::string(what) + " of " + std::to_string(bytes) + " bytes is not aligned: " + name_of(address));
    }
    fail(std::string(what) + " out of bounds: byte " + std::to_string(static_cast<std::int32_t>(address - begin)) +
         " of the " + std::to_string(end - begin) + " that begin at " + name_of(begin));
}

inline void SharedMemory::check_bounds(const char* what, std::uint32_t address, std::uint32_t bytes,
                                       std::uint32_t begin, std::uint32_t end) const {
    const bool aligned = address % bytes == 0 || address % 16 == 0;
    if (!aligned || address < begin || address >= end || bytes > end - address) {
        fail_bounds(what, address, bytes, begin, end);
    }
}

void SharedMemory::check_read(std::uint64_t written, std::uint32_t address, bool by_warp) const {
    if (written == 0) fail("reads what nobody wrote: " + name_of(address));
    if ((written & copying) != 0) {
        fail("reads what a cp.async of thread " + std::to_string(thread_of(written)) +
             " may still be writing (not waited for): " + name_of(address));
    }
    if ((thread_of(written) == this_thread().number && !by_warp) || ordered(written)) return;
    fail("reads what thread " + std::to_string(thread_of(written)) +
         " wrote, and no barrier between them: " + name_of(address));
}

void SharedMemory::check_write(const Piece& piece, std::uint32_t address) const {
    const int self = this_thread().number;
    if ((piece.written & copying) != 0) {
        fail("writes where a cp.async of thread " + std::to_string(thread_of(piece.written)) +
             " may still be writing (not waited for): " + name_of(address));
    }
    if (thread_of(piece.written) != self && !ordered(piece.written)) {
        fail("writes over what thread " + std::to_string(thread_of(piece.written)) +
             " wrote, and no barrier between them: " + name_of(address));
    }
    const bool alone = thread_of(piece.read) == self && (piece.read & (several_lanes | several_warps)) == 0;
    if (alone || ordered(piece.read)) return;
    fail("writes over what " + reader_of(piece.read) + ", and no barrier between them: " + name_of(address));
}

const std::byte* SharedMemory::read_pieces(std::uint32_t address, std::uint32_t bytes, bool by_warp) {
    // All but the first accesses behind a barrier find that nothing changes.
    const std::uint64_t this_block = block_stamp(), now = by_warp ? warp_stamp() : stamp(), warp = warp_stamp();
    const std::uint64_t all = this_block | several_warps;
    for (std::uint32_t byte = address; byte < address + bytes; byte += piece_bytes) {
        Piece& piece = pieces_[byte / piece_bytes];
        if (piece.written - 1 >= this_block - 1) check_read(piece.written, byte, by_warp);
        if (piece.read != now && piece.read != warp && piece.read != all) piece.read = with_read(piece.read, by_warp);
    }
    return bytes_.data() + address;
}

const std::byte* SharedMemory::read(std::uint32_t address, std::uint32_t bytes, std::uint32_t begin,
                                    std::uint32_t end) {
    check_bounds("read", address, bytes, begin, end);
    return read_pieces(address, bytes, false);
}

const std::byte* SharedMemory::read_by_warp(std::uint32_t address, std::uint32_t bytes) {
    return read_pieces(address, bytes, true);
}

std::byte* SharedMemory::write(std::uint32_t address, std::uint32_t bytes, std::uint32_t begin, std::uint32_t end) {
    check_bounds("write", address, bytes, begin, end);
    for (std::uint32_t byte = address; byte < address + bytes; byte += piece_bytes) {
        Piece& piece = pieces_[byte / piece_bytes];
        check_write(piece, byte);
        piece.written = stamp();
    }
    return bytes_.data() + address;
}

void SharedMemory::start_copy(std::uint32_t address, std::uint32_t bytes, std::uint32_t begin, std::uint32_t end) {
    check_bounds("cp.async", address, bytes, begin, end);
    for (std::uint32_t byte = address; byte < address + bytes; byte += piece_bytes) {
        Piece& piece = pieces_[byte / piece_bytes];
        check_write(piece, byte);
        piece.written = stamp() | copying;
    }
}

void SharedMemory::finish_copy(const void* from, std::uint32_t address, std::uint32_t bytes, std::uint32_t valid) {
    std::memset(bytes_.data() + address, 0, bytes);
    if (valid > 0) std::memcpy(bytes_.data() + address, from, valid);
    for (std::uint32_t byte = address; byte < address + bytes; byte += piece_bytes) {
        pieces_[byte / piece_bytes].written = stamp();
    }
}

}  // namespace emulation
