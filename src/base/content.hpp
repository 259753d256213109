#pragma once
// What a file is by its first bytes, where it is not the text that a reader wants.

#include <optional>
#include <string>
#include <string_view>

namespace protalbert {

/// UTF-8's mark, which editors on Windows put before a text; `cat` carries it into the middle of a file.
constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

/// The text without its mark.
std::string_view without_byte_order_mark(std::string_view text);

/// First bytes of a file that tell what it is.
constexpr std::size_t telling_bytes = 512;

/// What the bytes at a file's start say that it is, and what to do: "is a tar archive; unpack it (tar -xf) ...", to
/// stand behind the file's name. Nothing for what may be text, and for gzip. Archives, compressions, UTF-16 and UTF-32,
/// pointers of Git LFS, web pages and files of other programs.
std::optional<std::string> foreign_content(std::string_view start);

}  // namespace protalbert
