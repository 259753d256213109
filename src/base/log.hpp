#pragma once
// One line of log a fact, printed by one rank; spdlog underneath.

#include <fmt/format.h>

#include <string>

namespace protalbert {

/// Sets who prints: information comes from rank 0 alone, warnings and errors from any rank (with its number).
void set_log_rank(int rank, int ranks);

void log_information(const std::string& line);
void log_warning(const std::string& line);
void log_error(const std::string& line);

}  // namespace protalbert
