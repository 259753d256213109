#include "data/step_items.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/random.hpp"

namespace protalbert {

std::vector<WindowPart> parts_of_step(const EpochOrder& order, std::uint64_t step, std::uint64_t global_batch) {
    std::vector<WindowPart> parts;
    const std::uint64_t end = (step + 1) * global_batch;
    for (std::uint64_t at = step * global_batch; at < end; at += parts.back().count) {
        const std::uint64_t position = at % order.sequences;
        const std::uint64_t window = window_of(order, position);
        const Range range = window_range(order, window);
        const std::uint64_t first = position - range.first;
        parts.push_back({.epoch = static_cast<std::uint32_t>(at / order.sequences),
                         .window = window,
                         .first = first,
                         .count = std::min(range.count - first, end - at)});
    }
    return parts;
}

std::uint32_t window_epoch(const EpochOrder& order, const WindowPart& part) {
    return order.windows() == 1 ? 0 : part.epoch;
}

Window window_of_blocks(const EpochOrder& order, std::uint32_t epoch, std::uint64_t window, int ranks) {
    const Range range = window_range(order, window);
    Window blocks;
    blocks.run_length = order.sequences_per_block;
    blocks.count = range.count;
    for (std::uint64_t at = range.first; at < range.first + range.count; at += order.sequences_per_block) {
        const std::uint64_t block = block_at(order, epoch, at / order.sequences_per_block);
        blocks.first.push_back(block * order.sequences_per_block);
        blocks.readers.push_back(reader_of(order, block, ranks));
    }
    return blocks;
}

std::uint64_t blocks_of_busiest_reader(const Window& window) {
    std::ptrdiff_t most = 0;
    for (const int reader : window.readers)
        most = std::max(most, std::count(window.readers.begin(), window.readers.end(), reader));
    return static_cast<std::uint64_t>(most);
}

void append_items(std::vector<StepItem>& items, const EpochOrder& order, const WindowPart& part, const Window& window) {
    PROTALBERT_CHECK(window.count == window_range(order, part.window).count, "the window is another one");
    // place_in_window of the part's sequences and of the one behind them, the window's first where there is none.
    const auto places_of = [&](std::uint64_t first, std::uint64_t count) {
        return permute_range(first, count, window.count, order.seed, Purpose::window_order, part.epoch, part.window);
    };
    std::vector<std::uint64_t> places = places_of(part.first, std::min(part.count + 1, window.count - part.first));
    if (places.size() == part.count) places.push_back(places_of(0, 1)[0]);
    for (std::uint64_t i = 0; i < part.count; ++i)
        items.push_back({.window = &window, .epoch = part.epoch, .place = places[i], .partner = places[i + 1]});
}

}  // namespace protalbert
