#pragma once
// The losses of a step or of a validation, from sums over all ranks.

#include <cstdint>

namespace protalbert {

/// Sums over masked residues and over sequences with a sentence label.
struct LossTotals {
    double masked_loss = 0;     ///< cross-entropies, nats
    double masked_correct = 0;  ///< residues whose largest logit is the label's
    double sentence_loss = 0;
    double sentence_correct = 0;
};

/// Means; the sentence task's are 0 when there is none.
struct Losses {
    double masked = 0;             ///< nats a masked residue
    double masked_accuracy = 0;    ///< fraction
    double sentence = 0;           ///< nats a sentence label
    double sentence_accuracy = 0;  ///< fraction
    bool has_sentence = false;

    /// As in google-research/albert: the plain sum.
    double total() const { return masked + sentence; }
};

inline Losses mean_losses(const LossTotals& totals, std::int64_t masked, std::int64_t sentences) {
    Losses losses;
    if (masked > 0) {
        losses.masked = totals.masked_loss / static_cast<double>(masked);
        losses.masked_accuracy = totals.masked_correct / static_cast<double>(masked);
    }
    if (sentences > 0) {
        losses.has_sentence = true;
        losses.sentence = totals.sentence_loss / static_cast<double>(sentences);
        losses.sentence_accuracy = totals.sentence_correct / static_cast<double>(sentences);
    }
    return losses;
}

}  // namespace protalbert
