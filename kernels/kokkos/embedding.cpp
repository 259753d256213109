// Embeddings: three tables and a layer norm.

#include <cmath>

#include "kernels/kokkos/backend_class.hpp"

namespace protalbert {

void KokkosBackend::embedding_forward(Activations out, float* mean, float* rstd, EmbeddingIds ids,
                                      EmbeddingTables tables, std::int64_t T, std::int64_t E, Stream) {
    float* const y = floats(out);
    parallel("protalbert::embedding_forward", T, [=](std::int64_t t) {
        const float* word = tables.word + ids.tokens[t] * E;
        const float* position = tables.position + ids.positions[t] * E;
        const float* segment = tables.segment + ids.segments[t] * E;
        float* const row = y + t * E;
        double sum = 0;
        for (std::int64_t e = 0; e < E; ++e) sum += row[e] = word[e] + position[e] + segment[e];
        const double average = sum / static_cast<double>(E);
        double squares = 0;
        for (std::int64_t e = 0; e < E; ++e) squares += (row[e] - average) * (row[e] - average);
        const double inverse = 1 / std::sqrt(squares / static_cast<double>(E) + tables.epsilon);
        for (std::int64_t e = 0; e < E; ++e) {
            row[e] = static_cast<float>((row[e] - average) * inverse) * tables.gamma[e] + tables.beta[e];
        }
        if (mean != nullptr) {
            mean[t] = static_cast<float>(average);
            rstd[t] = static_cast<float>(inverse);
        }
    });
}

void KokkosBackend::embedding_backward(EmbeddingGradients gradients, Activations dout, const float* mean,
                                       const float* rstd, EmbeddingIds ids, EmbeddingTables tables, std::int64_t T,
                                       std::int64_t E, std::int64_t V, std::int64_t P, Stream stream) {
    static_cast<void>(V);
    static_cast<void>(P);
    float* const ds = scratch<float>(T * E);
    parallel("protalbert::embedding_sum", T, [=](std::int64_t t) {
        const float* word = tables.word + ids.tokens[t] * E;
        const float* position = tables.position + ids.positions[t] * E;
        const float* segment = tables.segment + ids.segments[t] * E;
        for (std::int64_t e = 0; e < E; ++e) ds[t * E + e] = word[e] + position[e] + segment[e];
    });
    const Activations s{reinterpret_cast<std::byte*>(ds), 4};
    layer_norm_backward(s, gradients.gamma, gradients.beta, dout, s, mean, rstd, tables.gamma, T, E, stream);
    for (std::int64_t t = 0; t < T; ++t) {
        for (std::int64_t e = 0; e < E; ++e) {
            gradients.word[ids.tokens[t] * E + e] += ds[t * E + e];
            gradients.position[ids.positions[t] * E + e] += ds[t * E + e];
            gradients.segment[ids.segments[t] * E + e] += ds[t * E + e];
        }
    }
}

}  // namespace protalbert
