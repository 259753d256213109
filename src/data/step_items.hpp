#pragma once
// Which sequences a step visits: parts of windows in the epoch's order, and each one's place in its window.

#include <cstdint>
#include <vector>

#include "data/epoch_order.hpp"
#include "data/step_assembly.hpp"
#include "data/window.hpp"

namespace protalbert {

/// Part of a step that lies in one window of one epoch: indices [first, first + count) in the window's order.
struct WindowPart {
    std::uint32_t epoch;
    std::uint64_t window;
    std::uint64_t first, count;
};
std::vector<WindowPart> parts_of_step(const EpochOrder& order, std::uint64_t step, std::uint64_t global_batch);

/// The epoch for which a part's window is read. The blocks of a corpus with a single window are the same in every epoch
/// and stay.
std::uint32_t window_epoch(const EpochOrder& order, const WindowPart& part);

/// A window of an epoch, yet to be read: its blocks in the epoch's order are the runs.
Window window_of_blocks(const EpochOrder& order, std::uint32_t epoch, std::uint64_t window, int ranks);

/// Blocks of the rank that reads the most of a window's.
std::uint64_t blocks_of_busiest_reader(const Window& window);

/// Appends the items of a part of `window`, which must outlive them. The partner of a sequence is the one that the
/// epoch visits next in the window, the first after the last: as random as the order itself, another one each epoch,
/// and mostly in the same step.
void append_items(std::vector<StepItem>& items, const EpochOrder& order, const WindowPart& part, const Window& window);

}  // namespace protalbert
