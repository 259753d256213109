#include "data/share_out.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>

#include "base/error.hpp"

namespace protalbert {

namespace {

/// Cost so far, part: the least first, of equal ones the first part.
using Load = std::pair<double, std::uint32_t>;

/// Lets a heap's first element, which has grown, sink to its place; half the work of taking it out and putting it back.
void sink(std::vector<Load>& heap) {
    const Load grown = heap.front();
    std::size_t at = 0;
    for (std::size_t child = 1; child < heap.size(); child = 2 * at + 1) {
        if (child + 1 < heap.size() && heap[child + 1] < heap[child]) ++child;
        if (grown <= heap[child]) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = grown;
}

/// Where no part exceeds the mean by more, other things than the sharing out limit a step.
constexpr double good_imbalance = 0.005;
/// Best fit counts a part's space in so many levels of the capacity, each item rounded up to whole ones: for the few
/// items of a part that loses less than good_imbalance.
constexpr std::size_t levels = 4096;

/// Parts by their free levels: a list of each number of levels, and a bit for each list that is not empty.
class FreeSpace {
  public:
    explicit FreeSpace(int parts) : first_(levels + 1, none), next_(static_cast<std::size_t>(parts)) {
        for (int part = parts - 1; part >= 0; --part) put(static_cast<std::uint32_t>(part), levels);
    }
    /// Takes `wanted` levels from the part that has the fewest left of those that have as many. False: none has.
    bool take(std::size_t wanted, std::uint32_t& part) {
        std::size_t word = wanted / 64;
        std::uint64_t bits = bits_[word] & (~std::uint64_t{0} << wanted % 64);
        while (bits == 0) {
            if (++word == bits_.size()) return false;
            bits = bits_[word];
        }
        const std::size_t level = word * 64 + static_cast<std::size_t>(std::countr_zero(bits));
        part = first_[level];
        first_[level] = next_[part];
        if (first_[level] == none) bits_[word] &= ~(std::uint64_t{1} << level % 64);
        put(part, level - wanted);
        return true;
    }

  private:
    static constexpr std::uint32_t none = ~std::uint32_t{0};
    void put(std::uint32_t part, std::size_t level) {
        next_[part] = first_[level];
        first_[level] = part;
        bits_[level / 64] |= std::uint64_t{1} << level % 64;
    }
    std::vector<std::uint32_t> first_, next_;
    std::array<std::uint64_t, levels / 64 + 1> bits_{};
};

/// Items by falling cost, of equal ones the first. A radix sort by the bytes of the costs' bits, which grow as numbers
/// do that are not negative: comparing ten thousand would take as long as the rest of sharing them out.
std::vector<std::uint32_t> largest_first(const std::vector<double>& costs) {
    struct Item {
        std::uint64_t key;
        std::uint32_t number;
    };
    constexpr std::size_t bytes = sizeof(std::uint64_t), values = 256;
    std::vector<Item> items(costs.size()), sorted(costs.size());
    std::array<std::array<std::uint32_t, values>, bytes> counts{};
    for (std::uint32_t i = 0; i < costs.size(); ++i) {
        items[i] = {~std::bit_cast<std::uint64_t>(costs[i]), i};
        for (std::size_t byte = 0; byte < bytes; ++byte) ++counts[byte][items[i].key >> 8 * byte & 0xFF];
    }
    for (std::size_t byte = 0; byte < bytes; ++byte) {
        std::array<std::uint32_t, values>& places = counts[byte];
        const auto common = std::find(places.begin(), places.end(), costs.size());
        if (common != places.end()) continue;  // all items have the same
        std::exclusive_scan(places.begin(), places.end(), places.begin(), 0U);
        for (const Item& item : items) sorted[places[item.key >> 8 * byte & 0xFF]++] = item;
        items.swap(sorted);
    }
    std::vector<std::uint32_t> order;
    order.reserve(items.size());
    for (const Item& item : items) order.push_back(item.number);
    return order;
}

/// Best fit decreasing: each item, largest first, to the fullest part that has room for it below `capacity`. False
/// where one finds no room.
bool fit(std::vector<std::uint32_t>& part_of, const std::vector<double>& costs, const std::vector<std::uint32_t>& order,
         int parts, double capacity) {
    FreeSpace space(parts);
    for (const std::uint32_t item : order) {
        const double share = costs[item] / capacity;
        if (share > 1) return false;
        if (!space.take(static_cast<std::size_t>(std::ceil(share * levels)), part_of[item])) return false;
    }
    return true;
}

double largest_load(const std::vector<std::uint32_t>& part_of, const std::vector<double>& costs, int parts) {
    std::vector<double> loads(static_cast<std::size_t>(parts), 0.0);
    for (std::size_t item = 0; item < costs.size(); ++item) loads[part_of[item]] += costs[item];
    return *std::max_element(loads.begin(), loads.end());
}

/// Largest first leaves several per cent where parts have but two or three items: a search for the least capacity into
/// which best fit brings them all (multifit: Coffman, Garey and Johnson, An application of bin-packing to
/// multiprocessor scheduling, 1978), between the largest load so far and the least thinkable.
void fit_closer(std::vector<std::uint32_t>& part_of, double& largest, const std::vector<double>& costs,
                const std::vector<std::uint32_t>& order, int parts, double mean) {
    constexpr int trials = 4;  // each halves what may be left to gain
    double least = std::max(mean, costs[order.front()]);
    std::vector<std::uint32_t> trial(part_of.size());
    for (int i = 0; i < trials && largest > least + good_imbalance * mean; ++i) {
        const double capacity = 0.5 * (least + largest);
        if (!fit(trial, costs, order, parts, capacity)) {
            least = capacity;
            continue;
        }
        part_of.swap(trial);
        largest = largest_load(part_of, costs, parts);
    }
}

}  // namespace

std::vector<std::uint32_t> share_out(const std::vector<double>& costs, int parts, double* imbalance) {
    PROTALBERT_CHECK(parts >= 1, "there is nobody to share out to");
    const std::vector<std::uint32_t> order = largest_first(costs);
    std::vector<Load> least(static_cast<std::size_t>(parts));  // a heap
    for (int part = 0; part < parts; ++part) least[part] = {0.0, static_cast<std::uint32_t>(part)};
    std::vector<std::uint32_t> part_of(costs.size());
    double total = 0, largest = 0;
    for (const std::uint32_t item : order) {
        part_of[item] = least.front().second;
        least.front().first += costs[item];
        total += costs[item];
        largest = std::max(largest, least.front().first);
        sink(least);
    }
    if (largest * parts > total * (1 + good_imbalance))
        fit_closer(part_of, largest, costs, order, parts, total / parts);
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
