#pragma once
// Scores of predictions as the field reports them, with standard errors over proteins: proteins are drawn again and
// again with replacement (bootstrap; Efron, Annals of Statistics 7, 1979), since residues of one protein are not
// independent.

#include <cstdint>
#include <string>
#include <vector>

#include "probe/labels.hpp"

namespace protalbert {

/// Of one kind of labels on a set of proteins.
struct Score {
    std::uint64_t proteins = 0;  ///< with labels
    std::uint64_t rows = 0;      ///< labelled residues or proteins
    double accuracy = 0;         ///< share of the rows (Q3, Q8, Q10, Q2)
    double accuracy_error = 0;   ///< standard error
    double matthews = 0;         ///< Matthews correlation, of two classes; NaN for more, or where it is undefined
    double matthews_error = 0;
    std::vector<std::vector<std::uint64_t>> confusion;  ///< [C][C] label, prediction
    std::vector<double> recall;                         ///< [C] NaN for a class without rows
    std::vector<double> resampled;                      ///< [resamples] accuracies, for differences of two scores
};

constexpr int resamples = 1000;  // their standard deviation is then known to 2 %

/// Kind k of the numbered proteins; classes [rows of the proteins in their order].
Score score_predictions(const LabelledProteins& proteins, std::size_t k, const std::vector<std::uint32_t>& numbers,
                        const std::vector<std::uint8_t>& classes, std::uint64_t seed);

/// Everything predicted to be the class most frequent among the training labels of kind k.
std::vector<std::uint8_t> majority_classes(const LabelledProteins& proteins, std::size_t k,
                                           const std::vector<std::uint32_t>& numbers);

/// Standard error of the difference of two accuracies on the same proteins with the same seed: the proteins are drawn
/// together, so that what is hard for both does not count.
double difference_error(const Score& one, const Score& other);

/// (TP TN - FP FN) / sqrt((TP + FP)(TP + FN)(TN + FP)(TN + FN)) of a 2 x 2 confusion; NaN where undefined. Matthews,
/// Biochimica et Biophysica Acta 405, 1975.
double matthews_correlation(const std::vector<std::vector<std::uint64_t>>& confusion);

}  // namespace protalbert
