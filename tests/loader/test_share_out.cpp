// Sharing out by cost, and grouping into micro-batches.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/random.hpp"
#include "data/share_out.hpp"

namespace protalbert {
namespace {

std::vector<double> random_costs(std::size_t count) {
    RandomStream random(1, Purpose::bench, 0, count);
    std::vector<double> costs(count);
    for (double& cost : costs) cost = 1 + 511 * random.uniform();
    return costs;
}

TEST(ShareOut, SmallCaseByHand) {
    double imbalance = -1;
    // 7 -> 0, 5 -> 1, 4 -> 1 (9), 3 -> 0 (10), 1 -> 1 (10)
    EXPECT_EQ(share_out({3, 7, 1, 5, 4}, 2, &imbalance), (std::vector<std::uint32_t>{0, 0, 1, 1, 1}));
    EXPECT_DOUBLE_EQ(imbalance, 0);
    EXPECT_EQ(share_out({2, 2, 2}, 2, &imbalance), (std::vector<std::uint32_t>{0, 1, 0}));
    EXPECT_DOUBLE_EQ(imbalance, 4.0 / 3 - 1);
    EXPECT_EQ(share_out({1}, 3, &imbalance), std::vector<std::uint32_t>{0});
    EXPECT_DOUBLE_EQ(imbalance, 2);
    EXPECT_TRUE(share_out({}, 3, &imbalance).empty());
    EXPECT_DOUBLE_EQ(imbalance, 0);
}

TEST(ShareOut, ReportsTheImbalanceOfItsShares) {
    for (const int parts : {1, 2, 3, 7, 512}) {
        const auto costs = random_costs(10753);
        double imbalance = -1;
        const auto part_of = share_out(costs, parts, &imbalance);
        std::vector<double> loads(parts);
        for (std::size_t i = 0; i < costs.size(); ++i) loads[part_of[i]] += costs[i];
        const double mean = std::accumulate(loads.begin(), loads.end(), 0.0) / parts;
        EXPECT_NEAR(imbalance, *std::max_element(loads.begin(), loads.end()) / mean - 1, 1e-12);
        // 21 items a part of which the last few are small: the greedy rest is far below the mean item.
        EXPECT_LT(imbalance, 0.01) << parts;
    }
}

/// Lengths as of proteins cut at 512: a quarter are cut.
std::vector<double> protein_lengths(std::size_t count) {
    RandomStream random(2, Purpose::bench, 0, count);
    std::vector<double> lengths(count);
    for (double& length : lengths) length = std::min(512.0, std::ceil(325 * std::exp(0.67 * random.normal())));
    return lengths;
}

TEST(ShareOut, FewItemsAPart) {
    const auto costs = protein_lengths(10753);
    double imbalance = -1;
    const auto part_of = share_out(costs, 4096, &imbalance);
    std::vector<double> loads(4096);
    for (std::size_t i = 0; i < costs.size(); ++i) loads.at(part_of[i]) += costs[i];
    const double mean = std::accumulate(loads.begin(), loads.end(), 0.0) / 4096;
    EXPECT_NEAR(imbalance, *std::max_element(loads.begin(), loads.end()) / mean - 1, 1e-12);
    // Largest first alone leaves 6 %.
    EXPECT_LT(imbalance, 0.04);
}

TEST(ShareOut, ALongItemBoundsIt) {
    auto costs = protein_lengths(100);
    costs[17] = 3000;
    double imbalance = -1;
    const auto part_of = share_out(costs, 40, &imbalance);
    EXPECT_EQ(std::count(part_of.begin(), part_of.end(), part_of[17]), 1);
    EXPECT_DOUBLE_EQ(imbalance, 3000 * 40 / std::accumulate(costs.begin(), costs.end(), 0.0) - 1);
}

TEST(GroupByTokens, FitsAndIsBalanced) {
    for (const std::int64_t budget : {600, 2048, 8192, 100000}) {
        RandomStream random(1, Purpose::bench, 1, 0);
        std::vector<std::int64_t> lengths(200);
        for (auto& length : lengths) length = 5 + static_cast<std::int64_t>(random.below(508));
        const auto groups = group_by_tokens(lengths, budget);
        std::vector<std::uint32_t> seen;
        std::vector<std::int64_t> sizes;
        for (const auto& group : groups) {
            ASSERT_FALSE(group.empty());
            EXPECT_TRUE(std::is_sorted(group.begin(), group.end()));
            seen.insert(seen.end(), group.begin(), group.end());
            sizes.push_back(0);
            for (const auto item : group) sizes.back() += lengths[item];
            EXPECT_LE(sizes.back(), budget);
        }
        std::sort(seen.begin(), seen.end());
        ASSERT_EQ(seen.size(), lengths.size());
        for (std::uint32_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], i);
        const auto tokens = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
        const auto fewest = static_cast<std::size_t>((tokens + budget - 1) / budget);
        if (budget >= 8192) {
            EXPECT_EQ(groups.size(), fewest);
            EXPECT_LE(*std::max_element(sizes.begin(), sizes.end()) - *std::min_element(sizes.begin(), sizes.end()),
                      16);
        }
    }
}

TEST(GroupByTokens, LongItemsStandAlone) {
    EXPECT_EQ(group_by_tokens({10, 300, 20, 30, 101}, 100),
              (std::vector<std::vector<std::uint32_t>>{{1}, {4}, {0, 2, 3}}));
    EXPECT_EQ(group_by_tokens({60, 60, 60}, 100), (std::vector<std::vector<std::uint32_t>>{{0}, {1}, {2}}));
    EXPECT_TRUE(group_by_tokens({}, 100).empty());
}

}  // namespace
}  // namespace protalbert
