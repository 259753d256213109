#pragma once
// A head's predictions of labelled proteins.

#include <cstdint>
#include <vector>

#include "probe/features.hpp"
#include "probe/head.hpp"
#include "probe/labels.hpp"

namespace protalbert {

/// The same on every rank.
struct Evaluation {
    std::vector<double> losses;      ///< [K] mean cross-entropy of the labelled rows, nats; 0 without any
    std::vector<double> accuracies;  ///< [K] share of the labelled rows; 0 without any
    std::vector<std::vector<std::uint8_t>> classes;  ///< [K][rows of the proteins in their order] most probable class

    /// Sum over kinds: what training lowers.
    double loss() const;
};

/// Predicts the numbered proteins, shared out to the ranks. Collective.
Evaluation evaluate_head(const Head& head, const Features& features, const LabelledProteins& proteins,
                         const std::vector<std::uint32_t>& numbers, const Communicator& communicator);

/// The class of the largest logit (the first of equal ones) of each row of logits [T, C].
std::vector<std::uint8_t> most_probable(const std::vector<float>& logits, std::int64_t C);

}  // namespace protalbert
