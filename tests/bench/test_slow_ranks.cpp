// Slow links among healthy ones, in times that a simple network would give.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bench/slow_ranks.hpp"

using namespace protalbert;

namespace {

/// A network: an exchange takes as long as the slowest of the three ranks that take part in it, times 0.8 to 1.2.
struct Network {
    int ranks, ranks_a_machine;
    std::vector<int> slow_within,
        slow_between;  ///< ranks whose exchanges within, or between, machines take twice as long

    SlowRanks judge() const {
        std::vector<int> distances;
        for (int distance = 1; distance < ranks; distance *= 2) distances.push_back(distance);
        std::vector<std::string> machines;
        std::vector<std::vector<double>> seconds;
        for (int rank = 0; rank < ranks; ++rank) {
            machines.push_back("node" + std::to_string(rank / ranks_a_machine));
            std::vector<double>& times = seconds.emplace_back();
            for (const int distance : distances)
                times.push_back(
                    std::max(time(rank, (rank + distance) % ranks), time(rank, (rank + ranks - distance) % ranks)) *
                    (0.8 + 0.1 * ((3 * rank + distance) % 5)));
        }
        return find_slow_ranks(seconds, distances, machines);
    }

  private:
    double time(int left, int right) const {
        const bool between = left / ranks_a_machine != right / ranks_a_machine;
        const std::vector<int>& slow = between ? slow_between : slow_within;
        const auto is_slow = [&](int rank) { return std::find(slow.begin(), slow.end(), rank) != slow.end(); };
        return (between ? 3.0 : 1.0) * (is_slow(left) || is_slow(right) ? 2.5 : 1.0);
    }
};

std::vector<int> names(const SlowRanks& slow) {
    std::vector<int> ranks;
    for (const SlowRank& rank : slow.found) ranks.push_back(rank.rank);
    return ranks;
}

TEST(SlowRanks, OneOfAMachineIsNamedAndNobodyElse) {
    for (int ranks = 4; ranks <= 33; ++ranks)
        for (const int slow : {0, 1, ranks - 1}) {
            const SlowRanks result = Network{ranks, ranks, {slow}, {}}.judge();
            EXPECT_EQ(names(result), std::vector{slow}) << ranks << " ranks";
            EXPECT_TRUE(result.judged_within && !result.judged_between);
        }
}

TEST(SlowRanks, AMachineWithASlowAdapterIsNamedWithAllItsRanks) {
    for (const int machines : {4, 5, 6, 7, 16})
        for (const int each : {1, 2, 8}) {
            std::vector<int> slow;
            for (int rank = 2 * each; rank < 3 * each; ++rank) slow.push_back(rank);
            const SlowRanks result = Network{machines * each, each, {}, slow}.judge();
            EXPECT_EQ(names(result), slow) << machines << " machines of " << each;
            for (const SlowRank& rank : result.found) EXPECT_TRUE(rank.between_machines);
        }
}

TEST(SlowRanks, HealthyOnesAreNotNamed) {
    for (int ranks = 2; ranks <= 40; ++ranks)
        for (const int each : {1, 4, ranks}) EXPECT_TRUE(names(Network{ranks, each, {}, {}}.judge()).empty()) << ranks;
}

TEST(SlowRanks, AmongThreeNothingIsJudged) {
    const SlowRanks result = Network{3, 3, {1}, {}}.judge();
    EXPECT_TRUE(result.found.empty());
    EXPECT_FALSE(result.judged_within || result.judged_between);
}

}  // namespace
