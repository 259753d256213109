#pragma once
// JSON of foreign origin, in bounded memory.

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "io/input_file.hpp"

namespace protalbert {

/// An object. Throws InputError naming `origin` for anything else, deeper nesting than any of the formats needs, and a
/// key that an object has twice.
nlohmann::ordered_json parse_json_object(const std::string& text, const std::string& origin);
/// A whole file of at most `most_bytes`; `what` names its kind.
nlohmann::ordered_json read_json_object(const std::filesystem::path& file, const std::string& what,
                                        std::size_t most_bytes);

}  // namespace protalbert
