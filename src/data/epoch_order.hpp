#pragma once
// The order in which an epoch visits a corpus: blocks of about a mebibyte are permuted, sequences are shuffled within a
// window of blocks. Arithmetic alone: any position's sequence is found without tables, by any rank.

#include <cstdint>

namespace protalbert {

struct EpochOrder {
    std::uint64_t sequences = 0;            ///< N
    std::uint64_t sequences_per_block = 0;  ///< of about a mebibyte of residues; the last block may be short
    std::uint64_t blocks = 0;
    std::uint64_t blocks_per_window = 0;  ///< at most; the shuffle's reach, and what the ranks hold together
    std::uint64_t seed = 0;

    /// Of an epoch: as few as blocks_per_window allows, equal to a block, so that none is a small rest.
    std::uint64_t windows() const;
};

/// Sizes of the order's parts. Tests take small ones; for training they are fixed, because the order depends on them.
struct BlockSettings {
    /// A quarter above the mebibyte that a read should have at least: sequences are stored in random order, so that
    /// blocks of equal counts have nearly equal sizes (3277 proteins of mean length 400 and as much deviation: 1.8 %).
    double residues_per_block = 1.25 * 1024 * 1024;
    /// Windows of 80 MiB: 64 ranks read at a time, a hundred thousand proteins are shuffled, and one rank alone can
    /// still hold them.
    std::uint64_t blocks_per_window = 64;
};

/// For a corpus of `sequences` >= 1 sequences with `residues` residues altogether.
EpochOrder make_epoch_order(std::uint64_t sequences, std::uint64_t residues, std::uint64_t seed,
                            const BlockSettings& settings = {});

/// [first, first + count), of an epoch's positions or of the corpus's sequences.
struct Range {
    std::uint64_t first;
    std::uint64_t count;
};

/// Positions, in the epoch, of a window.
Range window_range(const EpochOrder& order, std::uint64_t window);
/// Window that holds a position of the epoch.
std::uint64_t window_of(const EpochOrder& order, std::uint64_t position);

/// Corpus block at place `slot` (0 .. blocks - 1) of the epoch's permuted order. The short last block keeps the last
/// place; with a single window all blocks do, as the shuffle reaches everything.
std::uint64_t block_at(const EpochOrder& order, std::uint32_t epoch, std::uint64_t slot);

/// Where the sequence that the epoch visits `index`-th in a window lies among the window's blocks, laid one after
/// another in the permuted order: the shuffle within the window. 0 .. count - 1.
std::uint64_t place_in_window(const EpochOrder& order, std::uint32_t epoch, std::uint64_t window, std::uint64_t index);

/// Rank, of `ranks`, that reads a block of the corpus: the same in every epoch, and neighbours mostly the same, so that
/// a rank holds the index of its own sequences alone.
int reader_of(const EpochOrder& order, std::uint64_t block, int ranks);
/// Sequences of the blocks that a rank reads; none for some where there are more ranks than blocks.
Range read_by(const EpochOrder& order, int rank, int ranks);

/// Sequence at `position` (0 .. N - 1) of `epoch`: a bijection of the corpus for every epoch.
std::uint64_t sequence_at(const EpochOrder& order, std::uint32_t epoch, std::uint64_t position);

}  // namespace protalbert
