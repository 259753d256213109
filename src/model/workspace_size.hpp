#pragma once
// Bytes of the workspaces, by the code that lays them out.

#include <cstddef>
#include <cstdint>

#include "model/model_config.hpp"
#include "model/parameters.hpp"

namespace protalbert {

/// For at most `tokens` tokens, with activations of `element_bytes`.
std::size_t inference_workspace_bytes(const ModelConfig& config, std::int64_t tokens, std::int64_t element_bytes);
/// For at most `tokens` tokens, `sequences` sequences and `masked` masked positions.
std::size_t training_workspace_bytes(const ModelConfig& config, const ParameterLayout& layout, std::int64_t tokens,
                                     std::int64_t sequences, std::int64_t masked, std::int64_t element_bytes);

}  // namespace protalbert
