// Classification losses.

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/kokkos/backend_class.hpp"
#include "kernels/kokkos/instruction_sets.hpp"

namespace protalbert {

/// Cross-entropy in nats of one row, and whether its largest logit (the first of equal ones) is the label's.
struct RowLoss {
    double loss;
    bool correct;
};

}  // namespace protalbert

#define PROTALBERT_KERNELS "kernels/kokkos/losses_kernels.hpp"
#include "kernels/kokkos/for_each_instruction_set.hpp"

namespace protalbert {

namespace {

constexpr std::int64_t loss_rows = 64;  // of one task: a few microseconds for a protein's vocabulary

std::int64_t loss_pieces(std::int64_t M) { return (M + loss_rows - 1) / loss_rows; }

}  // namespace

void KokkosBackend::classify(LossSums* sums, Activations dlogits, Activations x, Weight weight, const float* bias,
                             const std::int32_t* labels, double scale, std::int64_t M, std::int64_t C, std::int64_t K,
                             Stream stream) {
    if (M == 0) return;
    static_assert(sizeof(LossSums) % sizeof(float) == 0);
    constexpr auto sum_floats = static_cast<std::int64_t>(sizeof(LossSums) / sizeof(float));
    float* const memory = scratch<float>(loss_pieces(M) * sum_floats + M * C);
    auto* const partials = reinterpret_cast<LossSums*>(memory);
    float* const logits = memory + loss_pieces(M) * sum_floats;
    linear({reinterpret_cast<std::byte*>(logits), sizeof(float)}, x, weight,
           {const_cast<std::byte*>(reinterpret_cast<const std::byte*>(bias)), sizeof(float)}, M, C, K, stream);
    cross_entropy(partials, sums, floats(dlogits), logits, labels, scale, M, C);
}

void KokkosBackend::cross_entropy(LossSums* sums, Activations dlogits, Activations logits, const std::int32_t* labels,
                                  double scale, std::int64_t M, std::int64_t C, Stream) {
    cross_entropy(scratch<LossSums>(loss_pieces(M)), sums, floats(dlogits), floats(logits), labels, scale, M, C);
}

void KokkosBackend::cross_entropy(LossSums* partials, LossSums* sums, float* dlogits, const float* logits,
                                  const std::int32_t* labels, double scale, std::int64_t M, std::int64_t C) const {
    const std::int64_t pieces = loss_pieces(M);
    const auto run = PROTALBERT_SELECT(cross_entropy_row);
    parallel("protalbert::cross_entropy", pieces, [=](std::int64_t p) {
        LossSums sum{0, 0};
        for (std::int64_t m = p * loss_rows; m < std::min(M, (p + 1) * loss_rows); ++m) {
            float* const gradient = dlogits == nullptr ? nullptr : dlogits + m * C;
            if (labels[m] < 0) {
                if (gradient != nullptr) std::fill_n(gradient, C, 0.0F);
                continue;
            }
            const auto row = run(gradient, logits + m * C, labels[m], scale, C);
            sum.loss += row.loss;
            sum.correct += row.correct ? 1 : 0;
        }
        partials[p] = sum;
    });
    for (std::int64_t p = 0; p < pieces; ++p) {
        sums->loss += partials[p].loss;
        sums->correct += partials[p].correct;
    }
}

}  // namespace protalbert
