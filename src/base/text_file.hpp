#pragma once
// Small text files as people's editors and systems leave them: decks, JSON.

#include <filesystem>
#include <string>

namespace protalbert {

/// The text of `bytes` without a byte order mark, its lines ended by "\n" alone (not "\r\n", nor old Macs' "\r").
/// Throws InputError naming `origin` for what is no UTF-8, with the line, and for what is no text: UTF-16, a pointer of
/// Git LFS, something compressed.
std::string plain_text(const std::string& bytes, const std::string& origin);
/// A whole file of at most 16 MiB. Throws InputError naming `what` and the file.
std::string read_plain_text(const std::filesystem::path& file, const std::string& what);

}  // namespace protalbert
