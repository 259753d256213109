#include "bench/slow_ranks.hpp"

#include <algorithm>
#include <limits>
#include <map>

#include "bench/bench_proteins.hpp"

namespace protalbert {

namespace {

constexpr double none = std::numeric_limits<double>::infinity();
/// Machines, or ranks of one, of which a healthy one has partners without the slow one.
constexpr std::size_t fewest = 4;

/// Each rank's fastest exchange with two partners on its own machine (or two on others); `none` where it has no such.
std::vector<double> fastest(const std::vector<std::vector<double>>& seconds, const std::vector<int>& distances,
                            const std::vector<std::string>& machines, bool between) {
    const int ranks = static_cast<int>(machines.size());
    std::vector<double> best(machines.size(), none);
    for (int rank = 0; rank < ranks; ++rank)
        for (std::size_t i = 0; i < distances.size(); ++i) {
            const std::string& behind = machines[static_cast<std::size_t>((rank + distances[i]) % ranks)];
            const std::string& before = machines[static_cast<std::size_t>((rank + ranks - distances[i]) % ranks)];
            const std::string& own = machines[static_cast<std::size_t>(rank)];
            const bool counts = between ? behind != own && before != own : behind == own && before == own;
            if (counts)
                best[static_cast<std::size_t>(rank)] =
                    std::min(best[static_cast<std::size_t>(rank)], seconds[static_cast<std::size_t>(rank)][i]);
        }
    return best;
}

void judge(const std::vector<double>& best, bool between, std::vector<SlowRank>& found) {
    std::vector<double> known;
    std::copy_if(best.begin(), best.end(), std::back_inserter(known), [](double time) { return time < none; });
    if (known.empty()) return;
    const double usual = median(known);
    for (std::size_t rank = 0; rank < best.size(); ++rank)
        if (best[rank] < none && best[rank] > slow_factor * usual)
            found.push_back({static_cast<int>(rank), best[rank] / usual, between});
}

}  // namespace

SlowRanks find_slow_ranks(const std::vector<std::vector<double>>& seconds, const std::vector<int>& distances,
                          const std::vector<std::string>& machines) {
    SlowRanks result;
    std::map<std::string, std::size_t> ranks_of;
    for (const std::string& machine : machines) ++ranks_of[machine];
    result.judged_between = ranks_of.size() >= fewest;
    result.judged_within =
        std::all_of(ranks_of.begin(), ranks_of.end(), [](const auto& machine) { return machine.second >= fewest; });
    if (result.judged_within) judge(fastest(seconds, distances, machines, false), false, result.found);
    if (result.judged_between) judge(fastest(seconds, distances, machines, true), true, result.found);
    return result;
}

}  // namespace protalbert
