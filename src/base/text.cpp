#include "base/text.hpp"

#include <fmt/format.h>

#include <cstddef>

namespace protalbert {

namespace {

/// Bytes of the UTF-8 character at the start of `text`, which is not empty; 0 where there is none.
std::size_t character_length(std::string_view text) {
    const auto byte = [&](std::size_t position) { return static_cast<unsigned char>(text[position]); };
    const unsigned char first = byte(0);
    if (first < 0x80) return 1;
    const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
    // The second byte tells overlong forms, surrogates and what lies above U+10FFFF.
    const unsigned char least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const unsigned char most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (byte(1) < least || byte(1) > most) return 0;
    for (std::size_t position = 2; position < length; ++position)
        if ((byte(position) & 0xc0) != 0x80) return 0;
    return length;
}

}  // namespace

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const std::size_t length = character_length(text);
        if (length == 0) return false;
        text.remove_prefix(length);
    }
    return true;
}

std::string valid_utf8(std::string_view text) {
    std::string valid;
    valid.reserve(text.size());
    while (!text.empty()) {
        const std::size_t length = character_length(text);
        if (length == 0)
            valid += fmt::format("\\x{:02x}", static_cast<unsigned char>(text.front()));
        else
            valid += text.substr(0, length);
        text.remove_prefix(length == 0 ? 1 : length);
    }
    return valid;
}

}  // namespace protalbert
