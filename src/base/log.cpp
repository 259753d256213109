#include "base/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace protalbert {

namespace {

int log_rank = 0;
std::string rank_prefix;  // of warnings and errors: rank 0 speaks for the program

/// A logger that writes lines as they are and flushes each, so that a killed job loses none.
template <class Sink>
spdlog::logger plain_logger(const char* name) {
    spdlog::logger logger(name, std::make_shared<Sink>());
    logger.set_pattern("%v");
    logger.flush_on(spdlog::level::trace);
    return logger;
}

spdlog::logger& standard_output() {
    static spdlog::logger logger = plain_logger<spdlog::sinks::stdout_sink_mt>("output");
    return logger;
}

spdlog::logger& standard_error() {
    static spdlog::logger logger = plain_logger<spdlog::sinks::stderr_sink_mt>("error");
    return logger;
}

}  // namespace

void set_log_rank(int rank, int ranks) {
    log_rank = rank;
    rank_prefix = rank > 0 && ranks > 1 ? fmt::format("rank {}: ", rank) : "";
}

void log_information(const std::string& line) {
    if (log_rank == 0) standard_output().info("{}", line);
}

void log_warning(const std::string& line) { standard_error().warn("warning: {}{}", rank_prefix, line); }

void log_error(const std::string& line) { standard_error().error("error: {}{}", rank_prefix, line); }

}  // namespace protalbert
