// Initial values, as in google-research/albert modeling.py.

#include <xxhash.h>

#include <algorithm>
#include <cmath>

#include "base/random.hpp"
#include "model/parameters.hpp"

namespace protalbert {

namespace {

/// Elements drawn from one stream, and the unit of work of a thread.
constexpr std::int64_t stream_elements = 4096;
/// tf.truncated_normal_initializer draws again what lies farther out, in standard deviations.
constexpr double truncation = 2;

void fill_truncated_normal(float* values, const Parameter& parameter, double deviation, std::uint64_t seed) {
    // A stream for each name and piece of the tensor: no value depends on another tensor or on the threads.
    const auto name = static_cast<std::uint32_t>(XXH64(parameter.name.data(), parameter.name.size(), 0));
    const std::int64_t streams = (parameter.size + stream_elements - 1) / stream_elements;
#pragma omp parallel for schedule(static)
    for (std::int64_t stream = 0; stream < streams; ++stream) {
        RandomStream random(seed, Purpose::initialisation, name, static_cast<std::uint64_t>(stream));
        const std::int64_t end = std::min(parameter.size, (stream + 1) * stream_elements);
        for (std::int64_t i = stream * stream_elements; i < end; ++i) {
            double normal = random.normal();
            while (std::abs(normal) > truncation) normal = random.normal();
            values[i] = static_cast<float>(normal * deviation);
        }
    }
}

}  // namespace

void initialise(float* values, const Parameter& parameter, const ModelConfig& config, std::uint64_t seed) {
    switch (parameter.initializer) {
        case Initializer::zeros:
            std::fill_n(values, parameter.size, 0.0F);
            break;
        case Initializer::ones:
            std::fill_n(values, parameter.size, 1.0F);
            break;
        case Initializer::truncated_normal:
            fill_truncated_normal(values, parameter, config.initializer_range, seed);
            break;
    }
}

std::vector<float> initial_parameters(const ParameterLayout& layout, const ModelConfig& config, std::uint64_t seed) {
    std::vector<float> values(static_cast<std::size_t>(layout.size), 0.0F);
    for (const Parameter& parameter : layout.parameters)
        initialise(values.data() + parameter.offset, parameter, config, seed);
    return values;
}

}  // namespace protalbert
