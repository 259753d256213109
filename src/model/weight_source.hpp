#pragma once
// Where a model comes from: a checkpoint of this program or a Hugging Face folder, behind one face.

#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "io/checkpoint.hpp"
#include "model/hugging_face.hpp"
#include "model/parameters.hpp"

namespace protalbert {

struct WeightSource {
    std::string place;        ///< the checkpoint's file, or the folder
    CheckpointHeader header;  ///< of a folder: its configuration and vocabulary; step 0
    bool hugging_face = false;
    std::optional<HuggingFaceFolder> folder;  ///< on rank 0 alone
};

/// `path`: a checkpoint's file, a folder of checkpoints (the newest) or a Hugging Face folder, whose remarks are
/// logged, or what else stands for one (model_place.hpp). `vocabulary`: a file to take instead of a Hugging Face
/// folder's. The same on every rank while a run adds newer checkpoints. Collective. Throws InputError for what is none.
WeightSource open_weights(const std::string& path, const Communicator& communicator,
                          const std::string& vocabulary = "");

/// One parameter of make_parameter_layout(the source's configuration), into `values` on every rank. Collective.
void read_weights(const WeightSource& source, const Parameter& parameter, float* values,
                  const Communicator& communicator);
/// All of them, into `values` [layout.size].
void read_all_weights(const WeightSource& source, const ParameterLayout& layout, float* values,
                      const Communicator& communicator);

}  // namespace protalbert
