#pragma once
// Where a call of the probe writes: files that nothing else is, held while it works at them and at its scratch files.

#include <string>
#include <vector>

#include "comm/run_lock.hpp"

namespace protalbert {

/// What to hold for an output, which `option` names on the command line.
RunPlace output_place(const std::string& output, const std::string& option);

/// Throws InputError when `output` is one of the other files of the call, however that is spelt; empty names are none.
void require_apart(const std::string& output, const std::string& option, const std::vector<std::string>& others);

}  // namespace protalbert
