#pragma once
// Pointers of Git LFS: a few lines of text that a clone without Git LFS has in place of a large file.

#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace protalbert {

/// Whether a file that begins so is a pointer; its first eight bytes are enough.
bool is_git_lfs_pointer(std::string_view start);
/// What to say about one; `what` should be there instead ("weights").
InputError git_lfs_pointer(const std::filesystem::path& file, const std::string& what);

}  // namespace protalbert
