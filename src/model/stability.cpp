#include "model/stability.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.hpp"

namespace protalbert {

namespace {

/// x, y [T, H]
void add_changes(IterationChange& sums, const std::vector<float>& x, const std::vector<float>& y, std::size_t H) {
    for (std::size_t begin = 0; begin < x.size(); begin += H) {
        double difference = 0, product = 0, x_squared = 0, y_squared = 0;
        for (std::size_t i = begin; i < begin + H; ++i) {
            const double a = x[i], b = y[i];
            difference += (b - a) * (b - a);
            product += a * b;
            x_squared += a * a;
            y_squared += b * b;
        }
        const double norms = std::sqrt(x_squared * y_squared);
        // Rounding may leave the range of arccos; a vector of zeros is at right angles to all.
        const double cosine = norms > 0 ? std::clamp(product / norms, -1.0, 1.0) : 0;
        sums.distance += std::sqrt(difference);
        sums.cosine += cosine;
        sums.degrees += std::acos(cosine) * 180 / std::numbers::pi;
        sums.norm += std::sqrt(y_squared);
    }
}

}  // namespace

void add_iteration_changes(std::vector<IterationChange>& sums, const Model& model, const DeviceBatch& batch,
                           InferenceWorkspace& workspace, Stream stream) {
    PROTALBERT_CHECK(std::ssize(sums) == model.config.layers, "there is one sum for each iteration");
    Backend& backend = *model.backend;
    PROTALBERT_CHECK(backend.element_bytes() == sizeof(float), "hidden states are compared in float32");
    const auto H = static_cast<std::size_t>(model.config.hidden);
    std::vector<float> input(static_cast<std::size_t>(batch.sequences.tokens) * H), output(input.size());
    encode(model, batch, workspace, stream, [&](std::int64_t block, Activations hidden) {
        // An iteration ends with its last inner layer.
        if (block % model.config.inner != 0) return;
        backend.download(output.data(), hidden.data, output.size() * sizeof(float), stream);
        backend.synchronize(stream);
        const std::int64_t iteration = block / model.config.inner;
        if (iteration > 0) add_changes(sums[static_cast<std::size_t>(iteration - 1)], input, output, H);
        input.swap(output);
    });
}

}  // namespace protalbert
