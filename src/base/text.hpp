#pragma once
// Text of foreign origin (names of files, identifiers) on its way into files that others read as UTF-8.

#include <string>
#include <string_view>

namespace protalbert {

/// Whether `text` is UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text);
/// `text`, with every byte that is part of no UTF-8 character written as \xNN, which leaves different texts different:
/// what Python's bytes.decode("utf-8", "backslashreplace") gives.
std::string valid_utf8(std::string_view text);

}  // namespace protalbert
