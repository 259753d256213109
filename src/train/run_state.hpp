#pragma once
// A run's state in checkpoints: saving it, and finding where to start from.

#include <filesystem>
#include <string>

#include "comm/communicator.hpp"
#include "data/corpus.hpp"
#include "train/train_settings.hpp"
#include "train/train_step.hpp"

namespace protalbert {

/// What the command line says about the start.
struct StartOptions {
    std::string resume = "auto";  ///< "auto", "never", or a checkpoint (file or folder)
    std::string init;       ///< checkpoint (file or folder) or Hugging Face folder to take weights from; empty: none
    std::string deck = {};  ///< as TOML, to tell what has changed since a checkpoint was written; empty: not told
};

enum class StartKind { fresh, initialised, resumed };
struct Start {
    StartKind kind = StartKind::fresh;
    std::filesystem::path checkpoint;  ///< empty when fresh
};

/// Fills the state: from the newest checkpoint of settings.directory that can be read (`auto`; damaged ones are named
/// and passed over) or the one named; else with the weights of options.init; else with random ones. Collective.
/// Throws InputError for a checkpoint of another model, corpus or vocabulary, with the differences, and for a named one
/// that is missing or damaged. Other changes of the deck are accepted and logged. Changes no file.
Start restore_state(TrainState& state, const StartOptions& options, const TrainSettings& settings, const Corpus& corpus,
                    const Communicator& communicator);

/// The folders of the run's checkpoints and metrics, made where they are not there. Collective.
void make_directories(const TrainSettings& settings, const Communicator& communicator);

/// Makes settings.directory ready for a run that starts at state.step, after make_directories: moves checkpoints of
/// later steps (of a run that is not continued, or damaged) into a folder of their own, with a copy of the metrics, so
/// that they are never taken for this run's. Collective.
void prepare_directory(const TrainState& state, const TrainSettings& settings, const Communicator& communicator);

/// A checkpoint that was written, or why there is none.
struct SaveResult {
    std::filesystem::path file;
    std::string problem;  ///< empty: it is written
};

/// Writes step_NNNNNNNN.h5 for `step` steps done and removes those that settings.keep and keep_every do not keep. When
/// it cannot be written, all ranks return the same problem, and the older checkpoints are as they were. Collective.
/// Throws Error when the ranks' states differ.
SaveResult save_state(const TrainState& state, std::uint64_t step, std::uint64_t samples, const std::string& deck,
                      const TrainSettings& settings, const Corpus& corpus, const Communicator& communicator);

/// Whether someone has asked for a checkpoint by making the file DIRECTORY/save, which this removes. Rank 0 calls it.
bool take_save_request(const TrainSettings& settings);

/// A host copy of a device array of the layout's size.
std::vector<float> download_array(const DeviceMemory& array, const Model& model);

}  // namespace protalbert
