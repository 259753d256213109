#pragma once
// Embedding from a checkpoint and files of proteins to a file of vectors.

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "embed/output.hpp"
#include "embed/proteins.hpp"
#include "kernels/backend.hpp"
#include "model/model_config.hpp"

namespace protalbert {

struct EmbedOptions {
    std::string checkpoint;  ///< file, folder of checkpoints, or Hugging Face folder
    std::vector<std::string> inputs;
    std::string output;
    InputFormat format = InputFormat::automatic;
    InvalidLetters invalid = InvalidLetters::error;
    TooLong too_long = TooLong::error;
    VectorChoice vectors;
    std::int64_t batch_tokens = 0;  ///< 0: by device
    Precision precision = Precision::float32;
    std::string device = "auto";
    bool overwrite = false;
    bool not_finite_fails = true;  ///< whether a call fails when vectors are not finite
};

/// Embeds every protein of the inputs; returns the exit code (done, or stopped by a signal). A file in which vectors
/// are not finite is finished as any other, with an Error thrown afterwards, also when it was there already; a caller
/// that looks at /status has a warning instead. Collective.
int embed_proteins(const EmbedOptions& options, const Communicator& communicator);

/// Tokens of a batch where none are asked for: a function of model and kind of device, never of the machine, so that a
/// job continued elsewhere has the same batches.
std::int64_t default_batch_tokens(const ModelConfig& config, const Backend& backend);

}  // namespace protalbert
