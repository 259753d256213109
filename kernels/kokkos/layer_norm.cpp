// Layer norm, forward with a residual and backward.

#include <algorithm>
#include <cmath>

#include "kernels/kokkos/backend_class.hpp"
#include "kernels/kokkos/instruction_sets.hpp"

#define PROTALBERT_KERNELS "kernels/kokkos/layer_norm_backward_kernels.hpp"
#include "kernels/kokkos/for_each_instruction_set.hpp"

namespace protalbert {

namespace {

/// Rows whose parameter gradients are summed in one piece: at least 32, so that the pieces stay small beside the rows,
/// and at most 128 pieces, which are enough to share out. A function of T alone: any number of threads sums alike.
std::int64_t rows_of_piece(std::int64_t T) { return std::max<std::int64_t>(32, (T + 127) / 128); }

std::int64_t pieces_of(std::int64_t T) { return (T + rows_of_piece(T) - 1) / rows_of_piece(T); }

}  // namespace

void KokkosBackend::residual_layer_norm(Activations out, float* mean, float* rstd, Activations branch,
                                        Activations residual, const float* gamma, const float* beta, double epsilon,
                                        std::int64_t T, std::int64_t N, Stream) {
    float* const y = floats(out);
    float* const b = floats(branch);
    float* const s = mean != nullptr ? b : y;
    const float* const r = floats(residual);
    const auto run = PROTALBERT_SELECT(layer_norm_row);
    parallel("protalbert::residual_layer_norm", T, [=](std::int64_t t) {
        run(y + t * N, mean == nullptr ? nullptr : mean + t, rstd == nullptr ? nullptr : rstd + t, s + t * N, b + t * N,
            r == nullptr ? nullptr : r + t * N, gamma, beta, epsilon, N);
    });
}

std::int64_t KokkosBackend::layer_norm_partials(std::int64_t T, std::int64_t N) { return 3 * pieces_of(T) * N; }

void KokkosBackend::layer_norm_backward(float* partials, float* ds, float* dgamma, float* dbeta, float* dbias,
                                        const float* dout, const float* s, const float* mean, const float* rstd,
                                        const float* gamma, std::int64_t T, std::int64_t N) const {
    if (T == 0) return;
    const std::int64_t rows = rows_of_piece(T);
    const std::int64_t pieces = pieces_of(T);
    float* const dgammas = partials;                                          // [pieces, N]
    float* const dbetas = dgammas + pieces * N;                               // [pieces, N]
    float* const dbiases = dbias == nullptr ? nullptr : dbetas + pieces * N;  // [pieces, N]
    const auto run = PROTALBERT_SELECT(layer_norm_backward_rows);
    parallel_tasks("protalbert::layer_norm_backward", pieces, [=](std::int64_t p) {
        std::fill_n(dgammas + p * N, N, 0.0F);
        std::fill_n(dbetas + p * N, N, 0.0F);
        if (dbiases != nullptr) std::fill_n(dbiases + p * N, N, 0.0F);
        const std::int64_t t = p * rows;
        run(ds + t * N, dgammas + p * N, dbetas + p * N, dbiases == nullptr ? nullptr : dbiases + p * N, dout + t * N,
            s + t * N, mean + t, rstd + t, gamma, std::min(rows, T - t), N);
    });
    add_parts(dgamma, dgammas, pieces, N, true);
    add_parts(dbeta, dbetas, pieces, N, true);
    if (dbias != nullptr) add_parts(dbias, dbiases, pieces, N, true);
}

void KokkosBackend::layer_norm_backward(Activations ds, float* dgamma, float* dbeta, float* dbias, Activations dout,
                                        Activations s, const float* mean, const float* rstd, const float* gamma,
                                        std::int64_t T, std::int64_t N, Stream) {
    layer_norm_backward(scratch<float>(layer_norm_partials(T, N)), floats(ds), dgamma, dbeta, dbias, floats(dout),
                        floats(s), mean, rstd, gamma, T, N);
}

}  // namespace protalbert
