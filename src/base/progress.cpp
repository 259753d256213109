#include "base/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/log.hpp"

namespace protalbert {

namespace {

using Clock = std::chrono::steady_clock;

constexpr double bar_period = 0.25;  // seconds: fluent to the eye, nothing to the terminal
constexpr double line_period = 5.0;  // seconds: a log of hours stays readable
constexpr int bar_width = 30;        // characters: the whole line fits 80 columns for usual units

double seconds_since(Clock::time_point then) { return std::chrono::duration<double>(Clock::now() - then).count(); }

std::string format_rate(double rate, const std::string& unit) {
    if (rate >= 1e9) return fmt::format("{:.2f} G{}/s", rate * 1e-9, unit);
    if (rate >= 1e6) return fmt::format("{:.2f} M{}/s", rate * 1e-6, unit);
    if (rate >= 100) return fmt::format("{} {}/s", format_count(static_cast<std::uint64_t>(rate)), unit);
    return fmt::format("{:.3g} {}/s", rate, unit);
}

}  // namespace

// Only standard error tells whether a person watches: mpirun gives ranks a pseudo-terminal as standard output even when
// its own goes to a file.
Progress::Progress(std::string what, std::uint64_t total, std::string unit, bool enabled)
    : what_(std::move(what)),
      unit_(std::move(unit)),
      total_(total),
      enabled_(enabled),
      terminal_(isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      printed_(start_) {}

Progress::~Progress() {
    // Work that ended early leaves the bar where it stopped, but the next line must not start behind it.
    if (enabled_ && !finished_ && terminal_ && printed_ != start_) std::fputc('\n', stderr);
}

void Progress::update(std::uint64_t done) {
    done_ = done;
    if (!enabled_ || finished_ || seconds_since(printed_) < (terminal_ ? bar_period : line_period)) return;
    print(false);
    printed_ = Clock::now();
}

void Progress::finish() {
    if (!enabled_ || finished_) return;
    print(true);
    finished_ = true;
}

void Progress::print(bool last) {
    const double seconds = seconds_since(start_);
    const double rate = seconds > 0 ? static_cast<double>(done_) / seconds : 0;
    std::string line = what_ + ": ";
    if (last) {
        line += fmt::format("{} {} in {}, {}", format_count(done_), unit_, format_duration(seconds),
                            format_rate(rate, unit_));
    } else if (total_ > 0) {
        const double fraction = std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_));
        if (terminal_) {
            const int filled = static_cast<int>(fraction * bar_width);
            line += fmt::format("[{}{}] ", std::string(filled, '='), std::string(bar_width - filled, ' '));
        }
        line += fmt::format("{:.1f} %, {}", 100 * fraction, format_rate(rate, unit_));
        if (rate > 0 && done_ < total_)
            line += fmt::format(", {} left", format_duration(static_cast<double>(total_ - done_) / rate));
    } else {
        line += fmt::format("{} {}, {}", format_count(done_), unit_, format_rate(rate, unit_));
    }
    if (terminal_) {
        fmt::print(stderr, "\r\x1b[K{}{}", line, last ? "\n" : "");  // return, erase to the end of the line
        std::fflush(stderr);
    } else {
        log_information(line);
    }
}

std::string format_duration(double seconds) {
    if (seconds < 59.95) return fmt::format("{:.1f} s", std::max(0.0, seconds));
    if (!std::isfinite(seconds) || seconds > 1e12) return "unknown time";
    const auto whole = static_cast<std::int64_t>(std::llround(seconds));
    const std::int64_t days = whole / 86400, hours = whole / 3600 % 24, minutes = whole / 60 % 60, rest = whole % 60;
    if (days > 0) return fmt::format("{} d {} h", days, hours);
    if (hours > 0) return fmt::format("{} h {} min", hours, minutes);
    return fmt::format("{} min {} s", minutes, rest);
}

std::string format_bytes(double bytes) {
    const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    std::size_t unit = 0;
    while (bytes >= 1024 && unit + 1 < std::size(units)) {
        bytes /= 1024;
        ++unit;
    }
    return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, units[unit]);
}

std::string format_count(std::uint64_t number) {
    const std::string digits = std::to_string(number);
    std::string grouped;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        if (i > 0 && (digits.size() - i) % 3 == 0) grouped += ',';
        grouped += digits[i];
    }
    return grouped;
}

}  // namespace protalbert
