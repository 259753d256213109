#include "probe/scores.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/random.hpp"

namespace protalbert {
namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

using Confusion = std::vector<std::vector<std::uint64_t>>;

double accuracy_of(const Confusion& confusion) {
    std::uint64_t rows = 0, correct = 0;
    for (std::size_t c = 0; c < confusion.size(); ++c) {
        correct += confusion[c][c];
        for (const std::uint64_t count : confusion[c]) rows += count;
    }
    return rows > 0 ? static_cast<double>(correct) / static_cast<double>(rows) : not_a_number;
}

/// Over the values that are numbers.
double standard_deviation(const std::vector<double>& values) {
    double sum = 0, squares = 0, count = 0;
    for (const double value : values) {
        if (std::isnan(value)) continue;
        sum += value;
        ++count;
    }
    const double mean = sum / count;
    for (const double value : values)
        if (!std::isnan(value)) squares += (value - mean) * (value - mean);
    return count > 1 ? std::sqrt(squares / (count - 1)) : not_a_number;
}

}  // namespace

double matthews_correlation(const Confusion& confusion) {
    if (confusion.size() != 2) return not_a_number;
    const auto count = [&](std::size_t label, std::size_t predicted) {
        return static_cast<double>(confusion[label][predicted]);
    };
    const double tn = count(0, 0), fp = count(0, 1), fn = count(1, 0), tp = count(1, 1);
    const double product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn);
    return product > 0 ? (tp * tn - fp * fn) / std::sqrt(product) : not_a_number;
}

Score score_predictions(const LabelledProteins& proteins, std::size_t k, const std::vector<std::uint32_t>& numbers,
                        const std::vector<std::uint8_t>& classes, std::uint64_t seed) {
    const std::size_t C = proteins.kinds[k].classes.size();
    // A confusion a protein: any sample of proteins is a sum of them.
    std::vector<Confusion> confusions;
    std::size_t at = 0;
    for (const std::uint32_t number : numbers) {
        Confusion confusion(C, std::vector<std::uint64_t>(C, 0));
        bool labelled = false;
        for (std::uint64_t row = proteins.rows[number]; row < proteins.rows[number + 1]; ++row, ++at) {
            const std::int8_t label = proteins.labels[k][row];
            if (label < 0) continue;
            ++confusion[static_cast<std::size_t>(label)][classes[at]];
            labelled = true;
        }
        if (labelled) confusions.push_back(std::move(confusion));
    }

    const auto add = [&](Confusion& sum, const Confusion& one) {
        for (std::size_t label = 0; label < C; ++label)
            for (std::size_t predicted = 0; predicted < C; ++predicted) sum[label][predicted] += one[label][predicted];
    };
    Score score;
    score.confusion = Confusion(C, std::vector<std::uint64_t>(C, 0));
    for (const Confusion& confusion : confusions) add(score.confusion, confusion);
    score.proteins = confusions.size();
    for (std::size_t c = 0; c < C; ++c) {
        std::uint64_t rows = 0;
        for (const std::uint64_t count : score.confusion[c]) rows += count;
        score.rows += rows;
        score.recall.push_back(rows > 0 ? static_cast<double>(score.confusion[c][c]) / static_cast<double>(rows)
                                        : not_a_number);
    }
    score.accuracy = accuracy_of(score.confusion);
    score.matthews = matthews_correlation(score.confusion);

    std::vector<double> correlations;
    for (std::uint32_t sample = 0; sample < resamples && !confusions.empty(); ++sample) {
        RandomStream random(seed, Purpose::bootstrap, sample, 0);
        Confusion sum(C, std::vector<std::uint64_t>(C, 0));
        for (std::size_t i = 0; i < confusions.size(); ++i) add(sum, confusions[random.below(confusions.size())]);
        score.resampled.push_back(accuracy_of(sum));
        correlations.push_back(matthews_correlation(sum));
    }
    score.accuracy_error = standard_deviation(score.resampled);
    score.matthews_error = standard_deviation(correlations);
    return score;
}

std::vector<std::uint8_t> majority_classes(const LabelledProteins& proteins, std::size_t k,
                                           const std::vector<std::uint32_t>& numbers) {
    std::vector<std::uint64_t> counts(proteins.kinds[k].classes.size(), 0);
    for (const std::uint32_t number : proteins.members(Split::train))
        for (std::uint64_t row = proteins.rows[number]; row < proteins.rows[number + 1]; ++row)
            if (proteins.labels[k][row] >= 0) ++counts[static_cast<std::size_t>(proteins.labels[k][row])];
    const auto most = static_cast<std::uint8_t>(std::max_element(counts.begin(), counts.end()) - counts.begin());
    return std::vector<std::uint8_t>(static_cast<std::size_t>(row_count(proteins, numbers)), most);
}

double difference_error(const Score& one, const Score& other) {
    std::vector<double> differences;
    for (std::size_t i = 0; i < std::min(one.resampled.size(), other.resampled.size()); ++i)
        differences.push_back(one.resampled[i] - other.resampled[i]);
    return standard_deviation(differences);
}

}  // namespace protalbert
