#include "embed/windows.hpp"

#include <algorithm>
#include <limits>

namespace protalbert {
namespace {

/// Of a residue that lies in the window, to the nearer end at which the protein goes on.
std::uint64_t distance_to_cut(std::span<const Window> windows, std::size_t number, std::uint64_t residue) {
    constexpr std::uint64_t none = std::numeric_limits<std::uint64_t>::max();
    const Window& window = windows[number];
    const std::uint64_t left = number == 0 ? none : residue - window.first + 1;
    const std::uint64_t right = number + 1 == windows.size() ? none : window.first + window.length - residue;
    return std::min(left, right);
}

}  // namespace

std::uint64_t count_windows(std::uint64_t residues, std::uint64_t longest) {
    if (residues <= longest) return 1;
    const std::uint64_t most_apart = longest - longest / 2;
    return 1 + (residues - longest + most_apart - 1) / most_apart;
}

std::vector<Window> cut_windows(std::uint64_t residues, std::uint64_t longest) {
    if (residues <= longest) return {{0, residues}};
    std::vector<Window> windows(count_windows(residues, longest));
    for (std::uint64_t w = 0; w < windows.size(); ++w)
        windows[w] = {(residues - longest) * w / (windows.size() - 1), longest};
    return windows;
}

std::vector<double> window_weights(std::span<const Window> windows, std::size_t number) {
    if (windows.size() == 1) return std::vector<double>(windows[0].length, 1.0);
    const Window& window = windows[number];
    // Windows that share residues with this one.
    std::size_t begin = number, end = number + 1;
    while (begin > 0 && windows[begin - 1].first + windows[begin - 1].length > window.first) --begin;
    while (end < windows.size() && windows[end].first < window.first + window.length) ++end;
    std::vector<double> weights(window.length);
    for (std::uint64_t i = 0; i < window.length; ++i) {
        const std::uint64_t residue = window.first + i;
        std::uint64_t sum = 0;
        for (std::size_t w = begin; w < end; ++w)
            if (windows[w].first <= residue && residue < windows[w].first + windows[w].length)
                sum += distance_to_cut(windows, w, residue);
        weights[i] = static_cast<double>(distance_to_cut(windows, number, residue)) / static_cast<double>(sum);
    }
    return weights;
}

}  // namespace protalbert
