#pragma once
// FLOPs and bytes of a model. A multiply and an add count as two; each iteration of a shared layer counts; attention
// counts over real tokens only; recomputation does not count.

#include <cstdint>

#include "model/model_config.hpp"

namespace protalbert {

/// Forward pass of the encoder and projections for one sequence of `length` tokens: per block
/// 2 length (4 H^2 + 2 H F) + 4 length^2 H, plus 2 length E H for the projection.
double forward_flops(const ModelConfig& config, std::int64_t length);
/// Forward and backward: three times the forward pass.
double training_flops(const ModelConfig& config, std::int64_t length);

/// How many times longer a FLOP of attention takes than one of a dense product, forward and backward pass together:
/// 3.5 at length 512 and 3.1 at 2048 on an H200, where it matters most, and 1.4 to 1.5 on a CPU (protalbert_bench
/// kernels --length 512, 2048).
constexpr double attention_slowness = 3.3;
/// forward_flops with attention's counted so many times: proportional to the time that a sequence takes, by which work
/// is shared out.
double time_cost(const ModelConfig& config, std::int64_t length, double slowness = attention_slowness);

/// Bytes on the device, by the code that allocates them. `element_bytes`: of activations and of the weights that
/// products read, 4 or 2.
struct MemoryEstimate {
    std::int64_t parameters;   ///< with their copies in half precision
    std::int64_t optimizer;    ///< gradients and two moments
    std::int64_t activations;  ///< the workspace
};
/// For batches of at most `tokens` tokens.
MemoryEstimate inference_memory(const ModelConfig& config, std::int64_t tokens, std::int64_t element_bytes = 4);
/// For micro-batches of at most these numbers.
MemoryEstimate training_memory(const ModelConfig& config, std::int64_t tokens, std::int64_t sequences,
                               std::int64_t masked, std::int64_t element_bytes = 4);

}  // namespace protalbert
