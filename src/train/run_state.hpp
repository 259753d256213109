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
    std::string init;  ///< checkpoint (file or folder) or Hugging Face folder to take weights from; empty: none
};

enum class StartKind { fresh, initialised, resumed };
struct Start {
    StartKind kind = StartKind::fresh;
    std::filesystem::path checkpoint;  ///< empty when fresh
};

/// Fills the state: from the newest checkpoint of settings.directory that can be read (`auto`; damaged ones are named
/// and passed over) or the one named; else with the weights of options.init; else with random ones. Collective.
/// Throws InputError for a checkpoint of another model or vocabulary, with the differences, and for a named one that is
/// missing or damaged. Changes no file.
Start restore_state(TrainState& state, const StartOptions& options, const TrainSettings& settings, const Corpus& corpus,
                    const Communicator& communicator);

/// Makes settings.directory ready for a run that starts at state.step: creates it, and moves checkpoints of later steps
/// (of a run that is not continued, or damaged) into a folder of their own, with a copy of the metrics, so that they
/// are never taken for this run's. Collective.
void prepare_directory(const TrainState& state, const TrainSettings& settings, const Communicator& communicator);

/// Writes step_NNNNNNNN.h5 for `step` steps done and removes all but the newest settings.keep. Collective. Throws Error
/// when the ranks' states differ.
std::filesystem::path save_state(const TrainState& state, std::uint64_t step, std::uint64_t samples,
                                 const std::string& deck, const TrainSettings& settings, const Corpus& corpus,
                                 const Communicator& communicator);

/// A host copy of a device array of the layout's size.
std::vector<float> download_array(const DeviceMemory& array, const Model& model);

}  // namespace protalbert
