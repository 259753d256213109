#include "base/git_lfs.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace protalbert {

bool is_git_lfs_pointer(std::string_view start) {
    constexpr std::string_view first_line = "version https://git-lfs.github.com/spec/";
    constexpr std::size_t least = 8;
    return start.size() >= least && first_line.starts_with(start.substr(0, std::min(start.size(), first_line.size())));
}

InputError git_lfs_pointer(const std::filesystem::path& file, const std::string& what) {
    const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : ".";
    return InputError(fmt::format(
        "{} is a pointer of Git LFS, not the {}; fetch the file with: git lfs pull (in {}, where git-lfs is "
        "installed), or download it by itself and put it here",
        file.string(), what, folder.string()));
}

}  // namespace protalbert
