#include "data/share_out.hpp"

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>

#include "base/error.hpp"

namespace protalbert {

std::vector<std::uint32_t> share_out(const std::vector<double>& costs, int parts, double* imbalance) {
    PROTALBERT_CHECK(parts >= 1, "there is nobody to share out to");
    std::vector<std::uint32_t> order(costs.size());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::uint32_t left, std::uint32_t right) { return costs[left] > costs[right]; });

    using Load = std::pair<double, std::uint32_t>;  // cost so far, part
    std::vector<Load> loads(static_cast<std::size_t>(parts));
    for (int part = 0; part < parts; ++part) loads[part] = {0.0, static_cast<std::uint32_t>(part)};
    std::priority_queue<Load, std::vector<Load>, std::greater<Load>> least(std::greater<Load>(), std::move(loads));

    std::vector<std::uint32_t> part_of(costs.size());
    double total = 0, largest = 0;
    for (const std::uint32_t item : order) {
        auto [load, part] = least.top();
        least.pop();
        part_of[item] = part;
        load += costs[item];
        total += costs[item];
        largest = std::max(largest, load);
        least.emplace(load, part);
    }
    if (imbalance) *imbalance = total > 0 ? largest * parts / total - 1 : 0;
    return part_of;
}

std::vector<std::vector<std::uint32_t>> group_by_tokens(const std::vector<std::int64_t>& lengths,
                                                        std::int64_t batch_tokens) {
    std::vector<std::vector<std::uint32_t>> groups;
    std::vector<std::uint32_t> items;
    std::vector<double> costs;
    std::int64_t tokens = 0;
    for (std::uint32_t item = 0; item < lengths.size(); ++item) {
        if (lengths[item] > batch_tokens) {
            groups.push_back({item});
        } else {
            items.push_back(item);
            costs.push_back(static_cast<double>(lengths[item]));
            tokens += lengths[item];
        }
    }
    if (items.empty()) return groups;

    // As few groups as the tokens allow, one more as long as the shares do not fit; one item a group always does.
    const std::size_t alone = groups.size();
    for (std::int64_t count = (tokens + batch_tokens - 1) / batch_tokens;; ++count) {
        const auto part_of = share_out(costs, static_cast<int>(count));
        std::vector<std::int64_t> loads(static_cast<std::size_t>(count), 0);
        for (std::size_t i = 0; i < items.size(); ++i) loads[part_of[i]] += lengths[items[i]];
        if (*std::max_element(loads.begin(), loads.end()) > batch_tokens) continue;
        groups.resize(alone + static_cast<std::size_t>(count));
        for (std::size_t i = 0; i < items.size(); ++i) groups[alone + part_of[i]].push_back(items[i]);
        return groups;
    }
}

std::int64_t reproducible_batch_tokens(std::int64_t step_tokens, std::int64_t batch_tokens) {
    constexpr std::int64_t parts = 16, enough = 512;
    return std::min(batch_tokens, std::max(enough, (step_tokens + parts - 1) / parts));
}

}  // namespace protalbert
