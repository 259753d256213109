#include "data/epoch_order.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/random.hpp"

namespace protalbert {

namespace {

std::uint64_t first_slot(const EpochOrder& order, std::uint64_t window) {
    return window * order.blocks / order.windows();
}

}  // namespace

std::uint64_t EpochOrder::windows() const { return (blocks + blocks_per_window - 1) / blocks_per_window; }

EpochOrder make_epoch_order(std::uint64_t sequences, std::uint64_t residues, std::uint64_t seed,
                            const BlockSettings& settings) {
    PROTALBERT_CHECK(sequences >= 1, "an empty corpus has no order");
    EpochOrder order;
    order.sequences = sequences;
    order.seed = seed;
    order.blocks_per_window = settings.blocks_per_window;
    const double mean_length = std::max(1.0, static_cast<double>(residues) / static_cast<double>(sequences));
    order.sequences_per_block =
        std::clamp<std::uint64_t>(static_cast<std::uint64_t>(settings.residues_per_block / mean_length), 1, sequences);
    order.blocks = (sequences + order.sequences_per_block - 1) / order.sequences_per_block;
    return order;
}

Range window_range(const EpochOrder& order, std::uint64_t window) {
    const std::uint64_t first = first_slot(order, window) * order.sequences_per_block;
    const std::uint64_t end = std::min(first_slot(order, window + 1) * order.sequences_per_block, order.sequences);
    return {first, end - first};
}

std::uint64_t window_of(const EpochOrder& order, std::uint64_t position) {
    // The inverse of first_slot: the largest w with floor(w blocks / windows) <= slot.
    const std::uint64_t slot = position / order.sequences_per_block;
    return ((slot + 1) * order.windows() - 1) / order.blocks;
}

std::uint64_t block_at(const EpochOrder& order, std::uint32_t epoch, std::uint64_t slot) {
    const std::uint64_t full_blocks = order.sequences / order.sequences_per_block;
    // A single window is shuffled as a whole, so that its blocks can stay as they are stored (and loaded).
    if (slot >= full_blocks || order.windows() == 1) return slot;
    return permute(slot, full_blocks, order.seed, Purpose::block_order, epoch, 0);
}

std::uint64_t place_in_window(const EpochOrder& order, std::uint32_t epoch, std::uint64_t window, std::uint64_t index) {
    return permute(index, window_range(order, window).count, order.seed, Purpose::window_order, epoch, window);
}

int reader_of(const EpochOrder& order, std::uint64_t block, int ranks) {
    return static_cast<int>(block * static_cast<std::uint64_t>(ranks) / order.blocks);
}

Range read_by(const EpochOrder& order, int rank, int ranks) {
    // The inverse of reader_of: its first block is the smallest b with floor(b ranks / blocks) >= rank.
    const auto first_sequence = [&](int reader) {
        const auto all = static_cast<std::uint64_t>(ranks);
        const std::uint64_t block = (static_cast<std::uint64_t>(reader) * order.blocks + all - 1) / all;
        return std::min(block * order.sequences_per_block, order.sequences);
    };
    const std::uint64_t first = first_sequence(rank);
    return {first, first_sequence(rank + 1) - first};
}

std::uint64_t sequence_at(const EpochOrder& order, std::uint32_t epoch, std::uint64_t position) {
    const std::uint64_t window = window_of(order, position);
    const std::uint64_t first = window_range(order, window).first;
    const std::uint64_t place = first + place_in_window(order, epoch, window, position - first);
    const std::uint64_t block = block_at(order, epoch, place / order.sequences_per_block);
    return block * order.sequences_per_block + place % order.sequences_per_block;
}

}  // namespace protalbert
