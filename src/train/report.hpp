#pragma once
// What training tells people: the start, one line a step, the end. Rank 0 prints.

#include <cstdint>
#include <string>

#include "comm/communicator.hpp"
#include "data/corpus.hpp"
#include "train/metrics.hpp"
#include "train/run_state.hpp"
#include "train/train_settings.hpp"
#include "train/train_step.hpp"

namespace protalbert {

/// Program, ranks and threads, device, corpora, model, memory.
void report_setup(const TrainState& state, const TrainSettings& settings, const Corpus& corpus,
                  const Corpus* validation, int threads, const Communicator& communicator);

/// Where the parameters come from, and what will be done.
void report_start(const Start& start, const TrainState& state, const TrainSettings& settings);

/// "step 12/1500  loss 3.4321  mlm 2.7432 (17.3 %)  sop 0.6889 (54.0 %)  norm 1.23  lr 1.2e-03  312 ms  13,221
/// tokens/s".
std::string step_line(const StepMetrics& metrics, std::int64_t steps);

std::string validation_line(const Losses& losses);

/// Sums over the run, for the closing summary.
struct RunTotals {
    std::uint64_t steps = 0;
    std::uint64_t skipped = 0;
    std::uint64_t sequences = 0;
    double tokens = 0;
    double flops = 0;
    double seconds = 0;         ///< in steps
    double data_wait = 0;       ///< of these: until the batch was there
    double reduction_wait = 0;  ///< of these: until other ranks' gradients were there
};
void report_end(const RunTotals& totals);

/// The last validation beside what a model reaches that knows the composition alone.
void report_final_validation(const Losses& losses, const Corpus& corpus);

}  // namespace protalbert
