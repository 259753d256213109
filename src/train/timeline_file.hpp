#pragma once
// One file of all ranks' timelines.

#include <string>

#include "comm/communicator.hpp"

namespace protalbert {

/// Gathers what base/timeline.hpp has recorded on every rank into one JSON file of Chrome's trace format. Collective.
/// Returns what went wrong on rank 0, or nothing: a timeline is no reason to end a run.
std::string write_timeline(const std::string& file, const Communicator& communicator);

}  // namespace protalbert
