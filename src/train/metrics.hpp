#pragma once
// metrics.jsonl: one JSON object a line for each logged step and each validation. Rank 0 alone uses it.

#include <cstdint>
#include <filesystem>
#include <fstream>

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
    void write(const StepMetrics& metrics);
    /// Losses of the validation corpus after step `step`.
    void write_validation(std::uint64_t step, const Losses& losses);

  private:
    void write_line(const std::string& line);
    std::filesystem::path path_;
    std::ofstream stream_;
};

}  // namespace protalbert
