#include "model/cost.hpp"

#include "model/parameters.hpp"
#include "model/workspace_size.hpp"

namespace protalbert {

double time_cost(const ModelConfig& config, std::int64_t length, double slowness) {
    const auto L = static_cast<double>(length);
    const auto H = static_cast<double>(config.hidden);
    const auto F = static_cast<double>(config.intermediate);
    const auto E = static_cast<double>(config.embedding);
    const double block = 2 * L * (4 * H * H + 2 * H * F) + slowness * 4 * L * L * H;
    const double projection = config.projection ? 2 * L * E * H : 0;
    return static_cast<double>(config.blocks()) * block + projection;
}

double forward_flops(const ModelConfig& config, std::int64_t length) { return time_cost(config, length, 1); }

double training_flops(const ModelConfig& config, std::int64_t length) { return 3 * forward_flops(config, length); }

MemoryEstimate inference_memory(const ModelConfig& config, std::int64_t tokens, std::int64_t element_bytes) {
    const std::int64_t elements = make_parameter_layout(config, ModelPart::encoder).size;
    const std::int64_t copies = element_bytes == sizeof(float) ? 0 : elements * element_bytes;
    return {elements * std::int64_t{sizeof(float)} + copies, 0,
            static_cast<std::int64_t>(inference_workspace_bytes(config, tokens, element_bytes))};
}

MemoryEstimate training_memory(const ModelConfig& config, std::int64_t tokens, std::int64_t sequences,
                               std::int64_t masked, std::int64_t element_bytes) {
    const ParameterLayout layout = make_parameter_layout(config);
    const std::int64_t copies = element_bytes == sizeof(float) ? 0 : layout.size * element_bytes;
    return {
        layout.size * std::int64_t{sizeof(float)} + copies, 3 * layout.size * std::int64_t{sizeof(float)},
        static_cast<std::int64_t>(training_workspace_bytes(config, layout, tokens, sequences, masked, element_bytes))};
}

}  // namespace protalbert
