// Embeddings: three tables and a layer norm.

#include <algorithm>
#include <cmath>

#include "kernels/kokkos/backend_class.hpp"
#include "kernels/kokkos/instruction_sets.hpp"

#define PROTALBERT_KERNELS "kernels/kokkos/embedding_kernels.hpp"
#include "kernels/kokkos/for_each_instruction_set.hpp"

namespace protalbert {

namespace {

/// The rows of the three tables that token t adds up.
struct TokenRows {
    const float *word, *position, *segment;
};
TokenRows rows_of(const EmbeddingIds& ids, const EmbeddingTables& tables, std::int64_t t, std::int64_t E) {
    return {tables.word + ids.tokens[t] * E, tables.position + ids.positions[t] * E,
            tables.segment + ids.segments[t] * E};
}

}  // namespace

void KokkosBackend::embedding_forward(Activations out, float* mean, float* rstd, EmbeddingIds ids,
                                      EmbeddingTables tables, std::int64_t T, std::int64_t E, Stream) {
    float* const y = floats(out);
    const auto sum = PROTALBERT_SELECT(add_three_rows);
    const auto normalise = PROTALBERT_SELECT(layer_norm_row);
    parallel("protalbert::embedding_forward", T, [=](std::int64_t t) {
        float* const row = y + t * E;
        const TokenRows token = rows_of(ids, tables, t, E);
        sum(row, token.word, token.position, token.segment, E);
        normalise(row, mean == nullptr ? nullptr : mean + t, rstd == nullptr ? nullptr : rstd + t, row, row, nullptr,
                  tables.gamma, tables.beta, tables.epsilon, E);
    });
}

void KokkosBackend::embedding_backward(EmbeddingGradients gradients, Activations dout, const float* mean,
                                       const float* rstd, EmbeddingIds ids, EmbeddingTables tables, std::int64_t T,
                                       std::int64_t E, std::int64_t /*V*/, std::int64_t /*P*/, Stream) {
    float* const ds = scratch<float>(T * E + layer_norm_partials(T, E));  // [T, E]
    const auto sum = PROTALBERT_SELECT(add_three_rows);
    parallel("protalbert::embedding_sum", T, [=](std::int64_t t) {
        const TokenRows token = rows_of(ids, tables, t, E);
        sum(ds + t * E, token.word, token.position, token.segment, E);
    });
    layer_norm_backward(ds + T * E, ds, gradients.gamma, gradients.beta, nullptr, floats(dout), ds, mean, rstd,
                        tables.gamma, T, E);
    // Each task adds up a strip of columns over all tokens in order: no atomics, the same bits for any number of
    // threads, and the strips of the word and segment tables stay in the first-level cache.
    constexpr std::int64_t strip = 16;  // floats: a cache line, so that no two threads write the same one
    const auto add = PROTALBERT_SELECT(add_row);
    parallel_tasks("protalbert::embedding_backward", (E + strip - 1) / strip, [=](std::int64_t task) {
        const std::int64_t e = task * strip;
        const std::int64_t columns = std::min(strip, E - e);
        for (std::int64_t t = 0; t < T; ++t) {
            const float* const row = ds + t * E + e;
            add(gradients.word + ids.tokens[t] * E + e, row, columns);
            add(gradients.position + ids.positions[t] * E + e, row, columns);
            add(gradients.segment + ids.segments[t] * E + e, row, columns);
        }
    });
}

}  // namespace protalbert
