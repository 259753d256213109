#include "probe/output_place.hpp"

#include <fmt/format.h>

#include <filesystem>

#include "base/error.hpp"

namespace protalbert {

void require_apart(const std::string& output, const std::string& option, const std::vector<std::string>& others) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    for (const std::string& other : others)
        if (!other.empty() && (fs::weakly_canonical(output, ignored) == fs::weakly_canonical(other, ignored) ||
                               fs::equivalent(output, other, ignored)))
            throw InputError(
                fmt::format("{} would write over {}, which this call reads or writes, too; choose another "
                            "{}",
                            output, other, option));
}

}  // namespace protalbert
