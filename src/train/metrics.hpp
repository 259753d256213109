#pragma once
// metrics.jsonl: one JSON object a line for each logged step and each validation. Rank 0 alone uses it.

#include <cstdint>
#include <filesystem>
#include <string>

#include "train/losses.hpp"

namespace protalbert {

/// One logged step.
struct StepMetrics {
    std::uint64_t step = 0;     ///< counted from 0
    std::uint64_t samples = 0;  ///< sequences consumed so far, this step's included
    std::int64_t tokens = 0;    ///< of this step, special ones included, over all ranks
    Losses losses;
    double gradient_norm = 0;  ///< before clipping
    double learning_rate = 0;
    double seconds = 0;               ///< of this step
    double flops = 0;                 ///< of this step: the model's, over all ranks
    bool skipped = false;             ///< not finite: the parameters stayed
    std::uint64_t skipped_steps = 0;  ///< since the program started
};

class MetricsFile {
  public:
    /// Opens for appending; lines of `first_step` or later steps, which will come again, are cut off, as is a line that
    /// a crash left half. Throws Error when the file cannot be written.
    MetricsFile(const std::filesystem::path& file, std::uint64_t first_step);
    ~MetricsFile();
    MetricsFile(const MetricsFile&) = delete;
    MetricsFile& operator=(const MetricsFile&) = delete;
    // Lines that a full disk does not take wait in memory, with a warning, and are tried again with the next one: a run
    // outlives what its checkpoints do.
    void write(const StepMetrics& metrics);
    /// Losses of the validation corpus after step `step`.
    void write_validation(std::uint64_t step, const Losses& losses);
    /// Tries lines that wait again, and waits until the file is on disk, as far as it takes them.
    void sync();

  private:
    void write_line(const std::string& line);
    void write_waiting();
    std::filesystem::path path_;
    int descriptor_ = -1;
    std::string waiting_;  ///< not in the file yet
    bool warned_ = false;
};

}  // namespace protalbert
