#pragma once
// What a file is by its first bytes, where it is not the text that a reader wants.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace protalbert {

/// UTF-8's mark, which editors on Windows put before a text; `cat` carries it into the middle of a file.
constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

/// The text without its mark, or marks where it has several.
std::string_view without_byte_order_mark(std::string_view text);

/// Whether a text begins so, in whatever case its ASCII letters are.
bool begins_like(std::string_view text, std::string_view beginning);

/// First bytes of a file that tell what it is.
constexpr std::size_t telling_bytes = 512;

/// What keeps programs that work line by line from a text's lines.
struct TextForm {
    bool gzip = false;
    bool carriage_returns = false;  ///< lines end in CR alone, as on old Macs
    bool marks = false;             ///< lines begin with UTF-8's mark
};

/// By the first bytes of its text, of gzip decompressed.
TextForm text_form(std::string_view start, bool gzip);

/// A command for messages that makes the file NEW of FILE: `program` ("iconv -t UTF-8") gets the text's lines.
std::string command_for(const std::string& program, const TextForm& form);
/// The same with sed and these expressions; no line begins with UTF-8's mark for them.
std::string sed_command(const std::vector<std::string>& expressions, const TextForm& form);

/// What the bytes at a file's start say that it is, and what to do: "is a tar archive; unpack it (tar -xf) ...", to
/// stand behind the file's name. Nothing for what may be text, and for gzip. Archives, compressions, UTF-16 and UTF-32,
/// pointers of Git LFS, web pages and files of other programs. `gzip`: the bytes come from within such a file.
std::optional<std::string> foreign_content(std::string_view start, bool gzip = false);

}  // namespace protalbert
