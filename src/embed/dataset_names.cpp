#include "embed/dataset_names.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "base/log.hpp"
#include "base/progress.hpp"

namespace protalbert {

std::vector<std::string> dataset_names(const std::vector<std::string>& ids) {
    // Ids that can stay as they are have their names before any other is looked for.
    const auto is_name = [](const std::string& id) {
        // HDF5 reads "." as the group itself, and a name to its first zero byte.
        return !id.empty() && id != "." && id.find_first_of(std::string_view("/\0", 2)) == std::string::npos;
    };
    std::unordered_set<std::string> taken;
    std::vector<std::string> names(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i)
        if (is_name(ids[i]) && taken.insert(ids[i]).second) names[i] = ids[i];

    std::unordered_map<std::string, std::uint64_t> suffixes;  // the last one tried for a name
    for (std::size_t i = 0; i < ids.size(); ++i) {
        if (!names[i].empty()) continue;
        std::string wanted = ids[i].empty() ? fmt::format("protein_{}", i + 1) : ids[i];
        for (char& letter : wanted)
            if (letter == '/' || letter == '\0') letter = '_';
        if (wanted == ".") wanted = "_";
        names[i] = wanted;
        std::uint64_t& suffix = suffixes.try_emplace(wanted, 1).first->second;
        while (!taken.insert(names[i]).second) names[i] = fmt::format("{}_{}", wanted, ++suffix);
    }
    return names;
}

void report_changed_names(const std::vector<std::string>& ids, const std::vector<std::string>& names) {
    constexpr std::uint64_t named = 3;
    std::vector<std::string> first;
    std::uint64_t changed = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
        if (ids[i] == names[i]) continue;
        if (++changed <= named) first.push_back(fmt::format("'{}' is {}", ids[i], names[i]));
    }
    if (changed > 0)
        log_warning(
            fmt::format("{} datasets are not called by their proteins' ids, which are empty, occur before or "
                        "are no names in HDF5: {}{}; each has its id as the attribute original_id",
                        format_count(changed), fmt::join(first, ", "), changed > first.size() ? " ..." : ""));
}

}  // namespace protalbert
