// The order of an epoch: a bijection for every size, in blocks and windows as described.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <vector>

#include "data/epoch_order.hpp"

namespace protalbert {
namespace {

/// An order with blocks of a chosen size, to have many of them in small corpora.
EpochOrder small_order(std::uint64_t sequences, std::uint64_t per_block, std::uint64_t per_window,
                       std::uint64_t seed = 1) {
    EpochOrder order = make_epoch_order(sequences, sequences * 400, seed);
    order.sequences_per_block = per_block;
    order.blocks = (sequences + per_block - 1) / per_block;
    order.blocks_per_window = per_window;
    return order;
}

std::vector<std::uint64_t> visit(const EpochOrder& order, std::uint32_t epoch) {
    std::vector<std::uint64_t> sequences(order.sequences);
    for (std::uint64_t position = 0; position < order.sequences; ++position)
        sequences[position] = sequence_at(order, epoch, position);
    return sequences;
}

void expect_bijection(const EpochOrder& order, std::uint32_t epoch) {
    auto sequences = visit(order, epoch);
    std::sort(sequences.begin(), sequences.end());
    for (std::uint64_t i = 0; i < order.sequences; ++i)
        ASSERT_EQ(sequences[i], i) << order.sequences << " sequences, blocks of " << order.sequences_per_block;
}

TEST(EpochOrder, IsABijectionForEverySize) {
    for (std::uint64_t sequences = 1; sequences <= 300; ++sequences)
        for (const std::uint64_t per_block : {1, 2, 7, 32, 300})
            for (const std::uint64_t per_window : {1, 3, 64})
                ASSERT_NO_FATAL_FAILURE(expect_bijection(small_order(sequences, per_block, per_window), 2));
    for (const std::uint64_t sequences : {10753ull, 65536ull, 100003ull})
        for (const std::uint32_t epoch : {0u, 1u, 1000000u})
            ASSERT_NO_FATAL_FAILURE(expect_bijection(small_order(sequences, 13, 64), epoch));
    ASSERT_NO_FATAL_FAILURE(expect_bijection(make_epoch_order(1000000, 407000000, 3), 1));
}

TEST(EpochOrder, WindowsCoverTheEpochAndAreAlike) {
    for (std::uint64_t sequences = 1; sequences <= 400; ++sequences) {
        const EpochOrder order = small_order(sequences, 3, 5);
        std::uint64_t next = 0, least = 5, most = 0;
        for (std::uint64_t window = 0; window < order.windows(); ++window) {
            const Range range = window_range(order, window);
            ASSERT_EQ(range.first, next);
            ASSERT_GT(range.count, 0u);
            for (std::uint64_t at = range.first; at < range.first + range.count; ++at)
                ASSERT_EQ(window_of(order, at), window);
            const std::uint64_t blocks = (range.count + 2) / 3;
            least = std::min(least, blocks);
            most = std::max(most, blocks);
            next += range.count;
        }
        ASSERT_EQ(next, sequences);
        ASSERT_LE(most, 5u);
        ASSERT_LE(most - least, 1u) << sequences;
    }
}

TEST(EpochOrder, WindowsAreMadeOfWholeBlocks) {
    const EpochOrder order = small_order(1003, 10, 8);
    for (const std::uint32_t epoch : {0u, 5u}) {
        const auto sequences = visit(order, epoch);
        for (std::uint64_t window = 0; window < order.windows(); ++window) {
            const Range range = window_range(order, window);
            std::set<std::uint64_t> expected;
            for (std::uint64_t at = range.first; at < range.first + range.count; ++at)
                expected.insert(block_at(order, epoch, at / 10) * 10 + at % 10);
            const auto begin = sequences.begin() + static_cast<std::ptrdiff_t>(range.first);
            EXPECT_EQ(std::set<std::uint64_t>(begin, begin + static_cast<std::ptrdiff_t>(range.count)), expected);
        }
        EXPECT_EQ(block_at(order, epoch, 100), 100u) << "the short block keeps the last place";
    }
}

TEST(EpochOrder, EveryRankReadsNeighbouringBlocksAndAsMany) {
    for (std::uint64_t sequences : {1, 2, 5, 29, 100, 1003})
        for (const int ranks : {1, 2, 3, 7, 64}) {
            const EpochOrder order = small_order(sequences, 3, 5);
            std::uint64_t next = 0;
            for (int rank = 0; rank < ranks; ++rank) {
                const Range own = read_by(order, rank, ranks);
                ASSERT_EQ(own.first, next);
                for (std::uint64_t at = own.first; at < own.first + own.count; ++at)
                    ASSERT_EQ(reader_of(order, at / 3, ranks), rank);
                const std::uint64_t blocks = (own.count + 2) / 3, all = static_cast<std::uint64_t>(ranks);
                ASSERT_GE(blocks, order.blocks / all);
                ASSERT_LE(blocks, (order.blocks + all - 1) / all);
                next += own.count;
            }
            ASSERT_EQ(next, sequences);
        }
}

TEST(EpochOrder, BlocksHoldAMebibyte) {
    constexpr double mebibyte = 1024 * 1024;
    const EpochOrder large = make_epoch_order(216000000, 88000000000, 1);  // UniRef100 of 2019
    const double bytes = static_cast<double>(large.sequences_per_block) * 88e9 / 216e6;
    EXPECT_GT(bytes, mebibyte);
    EXPECT_LT(bytes, 1.3 * mebibyte);
    const EpochOrder small = make_epoch_order(100, 40000, 1);
    EXPECT_EQ(small.blocks, 1u);
    EXPECT_EQ(small.sequences_per_block, 100u);
    EXPECT_EQ(make_epoch_order(3, 100000000, 1).blocks, 3u);  // single sequences above a mebibyte
    EXPECT_EQ(make_epoch_order(1, 0, 1).blocks, 1u);
}

TEST(EpochOrder, EpochsAndSeedsDiffer) {
    for (const auto& order : {small_order(5000, 10, 20), small_order(5000, 5000, 64)}) {
        auto other_seed = order;
        other_seed.seed = 2;
        const auto first = visit(order, 0);
        for (const auto& other : {visit(order, 1), visit(order, 65536), visit(other_seed, 0)}) {
            // Two random orders agree in one place on average, and in twelve with a chance of one in a billion.
            int equal = 0;
            for (std::size_t i = 0; i < first.size(); ++i) equal += first[i] == other[i];
            EXPECT_LT(equal, 12);
        }
        EXPECT_EQ(visit(order, 0), first);
    }
}

TEST(EpochOrder, NeighboursInTheCorpusPartCompany) {
    // Within a window of n sequences the mean distance of a random order's neighbours is n / 3.
    const EpochOrder order = small_order(20000, 20000, 64);
    const auto sequences = visit(order, 0);
    double sum = 0;
    for (std::size_t i = 1; i < sequences.size(); ++i)
        sum += std::abs(static_cast<double>(sequences[i]) - static_cast<double>(sequences[i - 1]));
    // The deviation of one distance is n / sqrt(18), of the mean of 20000 about 33: 5 of them.
    EXPECT_NEAR(sum / 19999, 20000 / 3.0, 170);
}

}  // namespace
}  // namespace protalbert
