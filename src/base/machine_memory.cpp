#include "base/machine_memory.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

namespace protalbert {

namespace fs = std::filesystem;

namespace {

/// The number behind `key` in a file of lines "KEY NUMBER ..."; of an empty key, that at the file's beginning. Nothing
/// for "max".
std::optional<std::uint64_t> number_in(const fs::path& file, const std::string& key = {}) {
    std::ifstream stream(file);
    for (std::string line; std::getline(stream, line);) {
        std::istringstream words(line);
        std::string name;
        std::uint64_t number = 0;
        if ((key.empty() || (words >> name && name == key)) && words >> number) return number;
    }
    return std::nullopt;
}

/// What is left in one control group, by the files of either version of them.
std::optional<std::uint64_t> left_in_group(const fs::path& group, bool version2) {
    const auto limit = number_in(group / (version2 ? "memory.max" : "memory.limit_in_bytes"));
    const auto used = number_in(group / (version2 ? "memory.current" : "memory.usage_in_bytes"));
    if (!limit || !used) return std::nullopt;
    std::uint64_t cache = 0;
    for (const char* list : {"inactive_file", "active_file"})
        cache += number_in(group / "memory.stat", version2 ? list : std::string("total_") + list).value_or(0);
    const std::uint64_t held = *used - std::min(*used, cache);
    return *limit - std::min(*limit, held);
}

}  // namespace

std::optional<std::uint64_t> available_memory(const fs::path& root) {
    constexpr std::uint64_t kibibyte = 1024;
    std::optional<std::uint64_t> left = number_in(root / "proc/meminfo", "MemAvailable:");
    if (left) *left *= kibibyte;
    // Lines "NUMBER:CONTROLLERS:/PATH"; version 2 has no controllers. A group is bound by its parents too.
    std::ifstream groups(root / "proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) {
        const std::size_t controllers = line.find(':') + 1, path = line.find(":/") + 1;
        if (controllers == 0 || path == 0) continue;
        const std::string names = line.substr(controllers, path - 1 - controllers);
        const bool version2 = names.empty();
        if (!version2 && names.find("memory") == std::string::npos) continue;
        const fs::path top = root / (version2 ? "sys/fs/cgroup" : "sys/fs/cgroup/memory");
        for (fs::path group = line.substr(path + 1);; group = group.parent_path()) {
            if (const auto here = left_in_group(top / group, version2)) left = std::min(left.value_or(*here), *here);
            if (group.empty()) break;
        }
    }
    return left;
}

}  // namespace protalbert
