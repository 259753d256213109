#pragma once
// Which ranks have a slow link, from the times of exchanges between pairs.

#include <cstddef>
#include <string>
#include <vector>

namespace protalbert {

/// A healthy network's times lie within about 20 % of each other, and a link at half its rate, as one lost lane or the
/// wrong adapter leaves it, takes twice as long.
constexpr double slow_factor = 1.5;

/// A rank, and how many times longer than usual its exchanges take.
struct SlowRank {
    int rank;
    double factor;
    bool between_machines;  ///< in exchanges with other machines, else within its own
};

/// What the times tell: slow ranks, and whether there were enough to tell.
struct SlowRanks {
    std::vector<SlowRank> found;
    bool judged_within = false, judged_between = false;
};

/// seconds[rank][i]: time in which each rank exchanged the same bytes with the ranks `distances[i]` before and behind
/// it in the ring. machines[rank]: names. A slow rank makes its partners slow too, so each rank is judged by its
/// fastest exchange, which for a healthy one is with healthy partners; exchanges within and between machines are judged
/// apart. Named are those above slow_factor times the median. Among fewer than four ranks of a machine, or four
/// machines, everybody meets the slow one, and nothing is judged.
SlowRanks find_slow_ranks(const std::vector<std::vector<double>>& seconds, const std::vector<int>& distances,
                          const std::vector<std::string>& machines);

}  // namespace protalbert
