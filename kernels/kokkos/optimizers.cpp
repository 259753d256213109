// LAMB, AdamW and the gradient's norm.

#include <algorithm>
#include <cmath>

#include "kernels/kokkos/backend_class.hpp"
#include "kernels/kokkos/instruction_sets.hpp"

namespace protalbert {

/// Factors of one step for one variable. rest1 = 1 - beta1, rest2 = 1 - beta2, each rounded once.
struct MomentStep {
    float clip, beta1, rest1, beta2, rest2, epsilon, decay;
};
/// Sums of squares of a variable's values and of its update.
struct SquareSums {
    double w, u;
};

}  // namespace protalbert

#define PROTALBERT_KERNELS "kernels/kokkos/optimizers_kernels.hpp"
#include "kernels/kokkos/for_each_instruction_set.hpp"

namespace protalbert {

namespace {

/// Elements of one task: 5 arrays of 128 KB go through the second-level cache. A fixed number, so that any number of
/// threads adds alike.
constexpr std::int64_t piece = 32768;

std::int64_t pieces_of(std::int64_t n) { return (n + piece - 1) / piece; }

/// A piece of a variable: its place and what pass 1 found there.
struct Piece {
    std::int64_t first, size;
    std::int64_t variable;
    SquareSums squares;
    float rate;  ///< learning rate times the variable's trust ratio
};

/// min(1, clip / norm); 1 without clipping; negative when the norm is not finite and the step must be left out.
double clip_factor(const OptimizerStep& step) {
    if (step.squared_norm == nullptr) return 1;
    if (!std::isfinite(*step.squared_norm)) return -1;
    if (step.clip <= 0) return 1;
    const double norm = std::sqrt(*step.squared_norm);
    return norm > step.clip ? step.clip / norm : 1;
}

MomentStep moment_step(const OptimizerStep& step, double clip, bool regularised) {
    return {static_cast<float>(clip),
            static_cast<float>(step.beta1),
            static_cast<float>(1 - step.beta1),
            static_cast<float>(step.beta2),
            static_cast<float>(1 - step.beta2),
            static_cast<float>(step.epsilon),
            static_cast<float>(regularised ? step.weight_decay : 0)};
}

}  // namespace

void KokkosBackend::sum_of_squares(double* out, const float* x, std::int64_t n, Stream) {
    const std::int64_t pieces = pieces_of(n);
    double* const partials = scratch<double>(pieces);
    const auto run = PROTALBERT_SELECT(squares_of);
    parallel("protalbert::sum_of_squares", pieces,
             [=](std::int64_t p) { partials[p] = run(x + p * piece, std::min(piece, n - p * piece)); });
    double sum = 0;
    for (std::int64_t p = 0; p < pieces; ++p) sum += partials[p];
    *out = sum;
}

void KokkosBackend::optimize(float* parameters, float* m, float* v, float* gradients,
                             const std::vector<Variable>& variables, const OptimizerStep& step, bool trust_ratio) {
    const double clip = clip_factor(step);
    if (clip < 0) return;
    std::int64_t count = 0;
    for (const Variable& variable : variables) count += pieces_of(variable.size);
    Piece* const pieces = scratch<Piece>(count);
    const auto variable_count = static_cast<std::int64_t>(variables.size());
    for (std::int64_t variable = 0, p = 0; variable < variable_count; ++variable) {
        const auto& [offset, size, regularised] = variables[static_cast<std::size_t>(variable)];
        for (std::int64_t i = 0; i < size; i += piece)
            pieces[p++] = {offset + i, std::min(piece, size - i), variable, {0, 0}, 0};
    }

    // 1. Moments, updates (over the gradients) and their squares.
    const auto update = PROTALBERT_SELECT(update_moments);
    const MomentStep plain = moment_step(step, clip, false);
    const MomentStep regularised = moment_step(step, clip, true);
    const Variable* const of = variables.data();
    parallel("protalbert::update_moments", count, [=](std::int64_t p) {
        auto& [first, size, variable, squares, rate] = pieces[p];
        squares = update(m + first, v + first, gradients + first, parameters + first,
                         of[variable].regularised ? regularised : plain, size);
    });

    // 2. The trust ratio of each variable, its pieces summed in order.
    for (std::int64_t p = 0; p < count;) {
        const std::int64_t variable = pieces[p].variable;
        SquareSums sum{0, 0};
        std::int64_t end = p;
        for (; end < count && pieces[end].variable == variable; ++end) {
            sum.w += pieces[end].squares.w;
            sum.u += pieces[end].squares.u;
        }
        const bool scaled = trust_ratio && of[variable].regularised && sum.w > 0 && sum.u > 0;
        const auto rate = static_cast<float>(step.learning_rate * (scaled ? std::sqrt(sum.w) / std::sqrt(sum.u) : 1));
        for (; p < end; ++p) pieces[p].rate = rate;
    }

    // 3. The parameters.
    const auto subtract = PROTALBERT_SELECT(subtract_scaled);
    parallel("protalbert::update_parameters", count, [=](std::int64_t p) {
        const Piece& one = pieces[p];
        subtract(parameters + one.first, gradients + one.first, one.rate, one.size);
    });
    for (const Variable& variable : variables)
        outdate(packed_, parameters + variable.offset, static_cast<std::size_t>(variable.size) * sizeof(float));
}

void KokkosBackend::lamb(float* parameters, void* /*copies*/, float* m, float* v, float* gradients,
                         const std::vector<Variable>& variables, const OptimizerStep& step, Stream) {
    optimize(parameters, m, v, gradients, variables, step, true);
}

void KokkosBackend::adamw(float* parameters, void* /*copies*/, float* m, float* v, float* gradients,
                          const std::vector<Variable>& variables, const OptimizerStep& step, Stream) {
    optimize(parameters, m, v, gradients, variables, step, false);
}

}  // namespace protalbert
