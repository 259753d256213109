#pragma once
// The training loop.

#include <chrono>
#include <string>

#include "comm/communicator.hpp"
#include "data/corpus.hpp"
#include "train/dump.hpp"
#include "train/run_state.hpp"
#include "train/train_settings.hpp"
#include "train/train_step.hpp"

namespace protalbert {

/// A timeline of the first `steps` steps of a start, in Chrome's trace format.
struct TimelineRequest {
    std::string file;  ///< empty: none
    std::int64_t steps = 10;
};

struct TrainRun {
    const TrainSettings& settings;
    std::string deck;  ///< as TOML, for checkpoints
    const Corpus& corpus;
    const Corpus* validation;  ///< null: none
    DumpRequest dump;
    TimelineRequest timeline;
    std::chrono::steady_clock::time_point program_start;  ///< where the time limit counts from
    const Communicator& communicator;
};

/// Trains from state.step to settings.schedule.steps, with log, metrics, validation and checkpoints. Returns exit_done,
/// exit_stopped after a signal or the time limit (the state is saved), or exit_failure after too many steps in a row
/// whose loss or gradient was not finite (the state before them is saved). Collective.
int train(TrainState& state, const TrainRun& run);

}  // namespace protalbert
