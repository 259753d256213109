#pragma once
// Where a call of the probe writes: files that nothing else is.

#include <string>
#include <vector>

namespace protalbert {

/// Throws InputError when `output` is one of the other files of the call, however that is spelt; empty names are none.
void require_apart(const std::string& output, const std::string& option, const std::vector<std::string>& others);

}  // namespace protalbert
