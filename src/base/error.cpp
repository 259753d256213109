#include "base/error.hpp"

#include <fmt/format.h>

#include <filesystem>

namespace protalbert {

void fail_check(const char* expression, const std::string& hint, std::source_location where) {
    const std::string file = std::filesystem::path(where.file_name()).filename().string();
    throw Error(
        fmt::format("{}:{} in {}: {} does not hold; {}", file, where.line(), where.function_name(), expression, hint));
}

}  // namespace protalbert
