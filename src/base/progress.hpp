#pragma once
// Progress of long work: a bar on a terminal, plain lines every few seconds elsewhere; rank 0 prints.

#include <chrono>
#include <cstdint>
#include <string>

namespace protalbert {

class Progress {
  public:
    /// `total` units of work (0: unknown), `unit` is their plural name ("residues"); prints nothing when not `enabled`.
    Progress(std::string what, std::uint64_t total, std::string unit, bool enabled);
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    /// Reports `done` units since the start; prints rate and time left at most a few times a second.
    void update(std::uint64_t done);
    /// Ends the bar with a last line of units, seconds and rate.
    void finish();

  private:
    void print(bool last);

    std::string what_;
    std::string unit_;
    std::uint64_t total_;
    std::uint64_t done_ = 0;
    bool enabled_;
    bool terminal_;
    bool finished_ = false;
    std::chrono::steady_clock::time_point start_;
    std::chrono::steady_clock::time_point printed_;
};

/// "3.2 s", "4 min 10 s", "2 h 5 min".
std::string format_duration(double seconds);
/// "1.5 MiB".
std::string format_bytes(double bytes);
/// "20,000".
std::string format_count(std::uint64_t number);

}  // namespace protalbert
