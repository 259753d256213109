#include "base/error.hpp"

#include <fmt/format.h>

#include <filesystem>

namespace protalbert {

void fail_check(const char* expression, const std::string& hint, const char* file, int line, const char* function) {
    throw Error(fmt::format("{}:{} in {}: {} does not hold; {}", std::filesystem::path(file).filename().string(), line,
                            function, expression, hint));
}

}  // namespace protalbert
