#pragma once
// What a deck says about a training run: its tables [data], [train], [checkpoint] and [run]. The model's table is
// model/model_config.hpp's.

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/deck.hpp"
#include "data/batch_loader.hpp"
#include "kernels/backend.hpp"
#include "train/schedule.hpp"

namespace protalbert {

enum class OptimizerKind { lamb, adamw };

struct TrainSettings {
    // [data]; relative paths count from the working directory
    std::string corpus;
    std::string validation;  ///< empty: none
    SampleSettings sample;

    // [train]
    std::int64_t global_batch = 4096;  ///< sequences a step, over all ranks
    Schedule schedule;
    OptimizerKind optimizer = OptimizerKind::lamb;
    double weight_decay = 0.01;
    double clip = 1.0;  ///< largest global gradient norm; 0: no clipping
    Precision precision = Precision::float32;
    std::int64_t batch_tokens = 4096;  ///< largest micro-batch of a rank
    bool reproducible = false;         ///< the same bits for any number of ranks

    // [checkpoint]
    std::filesystem::path directory;
    std::int64_t checkpoint_every = 1000;  ///< steps; 0: at the end alone
    int keep = 3;                          ///< newest checkpoints that stay
    std::int64_t keep_every = 0;           ///< steps; checkpoints of its multiples stay for good; 0: none

    // [run]
    double time_limit = 0;                     ///< seconds since the program's start; 0: none
    std::int64_t log_every = 1;                ///< steps
    std::int64_t validate_every = 0;           ///< steps; 0: at the end alone
    std::int64_t validation_sequences = 2048;  ///< at most so many of the validation corpus
    std::filesystem::path metrics;             ///< metrics.jsonl in the checkpoints' folder unless named
};

/// Reads and checks the four tables. Throws InputError naming the key; keys that no one knows are left to
/// Deck::refuse_unknown_keys. Defaults are those of google-research/albert.
TrainSettings read_train_settings(Deck& deck);

/// What of it decides a step's batches.
LoaderSettings loader_settings(const TrainSettings& settings);

}  // namespace protalbert
