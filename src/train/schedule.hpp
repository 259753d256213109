#pragma once
// The learning rate, as in google-research/albert optimization.py with a linear decay.

#include <algorithm>
#include <cstdint>

namespace protalbert {

struct Schedule {
    double peak = 0.00176;        ///< lr0
    std::int64_t steps = 125000;  ///< N
    std::int64_t warmup = 3125;   ///< W
};

/// lr0 t / W while t < W, else lr0 (1 - t / N). Step 0 has rate 0 when there is a warm-up; the decay is not offset by
/// it, so that at t = W the rate falls from lr0 to lr0 (1 - W / N).
inline double learning_rate(const Schedule& schedule, std::int64_t step) {
    if (step < schedule.warmup) return schedule.peak * static_cast<double>(step) / static_cast<double>(schedule.warmup);
    const std::int64_t decayed = std::min(step, schedule.steps);
    return schedule.peak * (1.0 - static_cast<double>(decayed) / static_cast<double>(schedule.steps));
}

}  // namespace protalbert
