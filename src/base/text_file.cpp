#include "base/text_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <string_view>

#include "base/content.hpp"
#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/text.hpp"

namespace protalbert {

namespace {

/// Longer than any deck or configuration; a corpus given in its place is not read.
constexpr std::streamsize most_bytes = 16 << 20;

/// What bytes that are no text of ours are, and what to do about it; nothing when they may be text.
std::optional<std::string> other_content(std::string_view bytes) {
    if (auto foreign = foreign_content(bytes.substr(0, telling_bytes))) return foreign;
    if (bytes.starts_with("\x1f\x8b")) return "is compressed by gzip; unpack it first (gunzip)";
    if (bytes.find('\0') != std::string_view::npos) return "is not text: it contains zero bytes";
    return std::nullopt;
}

}  // namespace

std::string plain_text(const std::string& bytes, const std::string& origin) {
    if (const auto other = other_content(bytes)) throw InputError(fmt::format("{} {}", origin, *other));
    std::string text;
    text.reserve(bytes.size());
    for (std::size_t i = bytes.starts_with(byte_order_mark) ? byte_order_mark.size() : 0; i < bytes.size(); ++i) {
        const bool carriage_return = bytes[i] == '\r';
        text += carriage_return ? '\n' : bytes[i];
        if (carriage_return && i + 1 < bytes.size() && bytes[i + 1] == '\n') ++i;
    }
    if (is_utf8(text)) return text;
    std::size_t begin = 0;
    for (int line = 1;; ++line) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        const std::string_view content(text.data() + begin, end - begin);
        if (!is_utf8(content))
            throw InputError(
                fmt::format("{}:{}: {} is not UTF-8; save the file as UTF-8 (from Latin-1: iconv -f LATIN1 -t UTF-8)",
                            origin, line, valid_utf8(content.substr(0, 200))));
        begin = end + 1;
    }
}

std::string read_plain_text(const std::filesystem::path& file, const std::string& what) {
    require_readable_file(file, what);
    std::ifstream stream(file, std::ios::binary);
    std::string bytes(most_bytes + 1, '\0');
    stream.read(bytes.data(), most_bytes + 1);
    if (!stream.good() && !stream.eof()) throw InputError(fmt::format("{} {} cannot be read", what, file.string()));
    bytes.resize(static_cast<std::size_t>(stream.gcount()));
    const std::string origin = what + " " + file.string();
    if (stream.gcount() > most_bytes && !other_content(bytes))
        throw InputError(fmt::format("{} has more than {} bytes; is it the right file?", origin, most_bytes));
    return plain_text(bytes, file.string());
}

}  // namespace protalbert
