#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <vector>

#include "base/random.hpp"

namespace protalbert {
namespace {

using Words = std::array<std::uint32_t, 4>;

// Known answers of Random123 1.14 (kat_vectors, philox4x32 with 10 rounds).
TEST(Philox, KnownAnswers) {
    EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    EXPECT_EQ(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
              (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomStream, IsAFunctionOfItsAddress) {
    const auto draw = [](std::uint64_t seed, Purpose purpose, std::uint32_t a, std::uint64_t b) {
        RandomStream stream(seed, purpose, a, b);
        std::vector<std::uint64_t> numbers(9);
        for (auto& number : numbers) number = stream.bits64();
        return numbers;
    };
    const auto reference = draw(1, Purpose::sample, 2, 3);
    EXPECT_EQ(reference, draw(1, Purpose::sample, 2, 3));
    EXPECT_NE(reference, draw(2, Purpose::sample, 2, 3));
    EXPECT_NE(reference, draw(1 + (std::uint64_t{1} << 32), Purpose::sample, 2, 3));
    EXPECT_NE(reference, draw(1, Purpose::bench, 2, 3));
    EXPECT_NE(reference, draw(1, Purpose::sample, 3, 3));
    EXPECT_NE(reference, draw(1, Purpose::sample, 2, 4));
    EXPECT_NE(reference, draw(1, Purpose::sample, 2, 3 + (std::uint64_t{1} << 47)));
}

TEST(RandomStream, HasTheRightMoments) {
    RandomStream stream(7, Purpose::bench, 0, 0);
    constexpr int n = 200000;
    double uniform_sum = 0, normal_sum = 0, normal_squares = 0;
    std::array<int, 6> dice{};
    for (int i = 0; i < n; ++i) {
        const double uniform = stream.uniform();
        ASSERT_GE(uniform, 0.0);
        ASSERT_LT(uniform, 1.0);
        uniform_sum += uniform;
        const double normal = stream.normal();
        normal_sum += normal;
        normal_squares += normal * normal;
        ++dice[stream.below(6)];
    }
    // Five standard deviations of each mean: 1 / sqrt(12 n), 1 / sqrt(n), sqrt(2 / n), sqrt(n 5 / 36).
    EXPECT_NEAR(uniform_sum / n, 0.5, 5 / std::sqrt(12.0 * n));
    EXPECT_NEAR(normal_sum / n, 0.0, 5 / std::sqrt(1.0 * n));
    EXPECT_NEAR(normal_squares / n, 1.0, 5 * std::sqrt(2.0 / n));
    for (const int count : dice) EXPECT_NEAR(count, n / 6.0, 5 * std::sqrt(n * 5.0 / 36.0));
}

TEST(Permute, IsABijection) {
    std::vector<std::uint64_t> sizes;
    for (std::uint64_t size = 1; size <= 130; ++size) sizes.push_back(size);
    for (const std::uint64_t power : {256u, 1024u, 4096u, 65536u})
        for (const std::uint64_t size : {power - 1, power, power + 1}) sizes.push_back(size);
    for (const std::uint64_t size : sizes) {
        std::vector<bool> seen(size, false);
        for (std::uint64_t index = 0; index < size; ++index) {
            const std::uint64_t image = permute(index, size, 42, Purpose::block_order, 3, 1);
            ASSERT_LT(image, size);
            ASSERT_FALSE(seen[image]) << "size " << size << ", twice " << image;
            seen[image] = true;
        }
    }
}

TEST(Permute, CoversLargeRanges) {
    for (const std::uint64_t size : {(std::uint64_t{1} << 40) + 1, ~std::uint64_t{0}})
        for (std::uint64_t index = 0; index < 100; ++index)
            EXPECT_LT(permute(index, size, 1, Purpose::block_order, 0, 0), size);
}

TEST(Permute, RangesAreWhatOneByOneGives) {
    for (const std::uint64_t size : {1u, 2u, 5u, 33u, 1000u, 206157u}) {
        const std::uint64_t first = size / 3, count = std::min<std::uint64_t>(size - first, 500);
        const std::vector<std::uint64_t> images = permute_range(first, count, size, 42, Purpose::window_order, 3, 1);
        ASSERT_EQ(images.size(), count);
        for (std::uint64_t i = 0; i < count; ++i)
            ASSERT_EQ(images[i], permute(first + i, size, 42, Purpose::window_order, 3, 1)) << "size " << size;
    }
    EXPECT_TRUE(permute_range(5, 0, 5, 42, Purpose::window_order, 3, 1).empty());
}

TEST(Permute, DependsOnItsWholeAddress) {
    const auto order = [](std::uint64_t seed, Purpose purpose, std::uint32_t a, std::uint64_t b) {
        std::vector<std::uint64_t> images;
        for (std::uint64_t index = 0; index < 100; ++index) images.push_back(permute(index, 100, seed, purpose, a, b));
        return images;
    };
    const auto reference = order(1, Purpose::block_order, 2, 3);
    EXPECT_EQ(reference, order(1, Purpose::block_order, 2, 3));
    EXPECT_NE(reference, order(2, Purpose::block_order, 2, 3));
    EXPECT_NE(reference, order(1, Purpose::window_order, 2, 3));
    EXPECT_NE(reference, order(1, Purpose::block_order, 3, 3));
    EXPECT_NE(reference, order(1, Purpose::block_order, 2, 4));
}

/// Chi-squared of counts against equal ones, in standard deviations above its mean.
double excess_of_chi_squared(const std::vector<int>& counts) {
    const double expected = std::accumulate(counts.begin(), counts.end(), 0.0) / static_cast<double>(counts.size());
    double chi_squared = 0;
    for (const int count : counts) chi_squared += (count - expected) * (count - expected) / expected;
    const double freedom = static_cast<double>(counts.size()) - 1;
    return (chi_squared - freedom) / std::sqrt(2 * freedom);
}

// Small ranges are where a Feistel network is weakest. Five standard deviations, as above.
TEST(Permute, MakesAllOrdersOfFewThingsEquallyLikely) {
    for (const std::uint64_t size : {3u, 4u}) {
        std::map<std::vector<std::uint64_t>, int> counts;
        for (std::uint64_t seed = 0; seed < 48000; ++seed) {
            std::vector<std::uint64_t> order;
            for (std::uint64_t index = 0; index < size; ++index)
                order.push_back(permute(index, size, seed, Purpose::bench, 0, 0));
            ++counts[order];
        }
        std::vector<int> values;
        for (const auto& [order, count] : counts) values.push_back(count);
        EXPECT_EQ(values.size(), size == 3 ? 6u : 24u);
        EXPECT_LT(excess_of_chi_squared(values), 5) << "size " << size;
    }
}

// Where two neighbours go, for every ordered pair of places.
TEST(Permute, MakesAllPairsOfPlacesEquallyLikely) {
    for (const std::uint64_t size : {7u, 9u, 16u, 17u, 40u}) {
        std::vector<int> counts(size * (size - 1), 0);
        for (std::uint64_t seed = 0; seed < 60 * size * size; ++seed) {
            const std::uint64_t first = permute(0, size, seed, Purpose::bench, 0, 0);
            const std::uint64_t second = permute(1, size, seed, Purpose::bench, 0, 0);
            ++counts[first * (size - 1) + second - (second > first)];
        }
        EXPECT_LT(excess_of_chi_squared(counts), 5) << "size " << size;
    }
}

}  // namespace
}  // namespace protalbert
