#pragma once
// A check of numbers on the command line.

#include <CLI/CLI.hpp>

namespace protalbert {

/// A number of [least, most]. CLI::Range lets "nan" through, which is neither smaller nor larger than anything.
CLI::Validator number_range(double least, double most);
/// A finite number above 0.
CLI::Validator positive_number();

}  // namespace protalbert
