#include "bench/bench.hpp"
namespace protalbert {
BenchAction add_bench_plan(CLI::App&) { return {}; }
}  // namespace protalbert
