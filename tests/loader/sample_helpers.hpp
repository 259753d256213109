#pragma once
// What the tests of samples share: random proteins, one sample at a time, and the reading of counts.

#include <cmath>
#include <cstdint>
#include <vector>

#include "base/random.hpp"
#include "data/sample.hpp"

namespace protalbert::loader_test {

/// A protein of `length` residues, ids 13 to 33.
inline std::vector<std::uint8_t> random_protein(std::uint64_t number, std::size_t length) {
    RandomStream random(7, Purpose::bench, 0, number);
    std::vector<std::uint8_t> residues(length);
    for (auto& residue : residues) residue = static_cast<std::uint8_t>(13 + random.below(21));
    return residues;
}

struct OneSample {
    SamplePlan plan;
    PackedBatch batch;  // of this sample alone
};

inline OneSample make_sample(const SampleSettings& settings, std::uint32_t epoch, std::uint64_t sequence,
                             const std::vector<std::uint8_t>& protein, const std::vector<std::uint8_t>& partner = {}) {
    static const Vocabulary vocabulary = default_vocabulary();
    OneSample sample;
    sample.plan = plan_sample(settings, epoch, sequence, static_cast<std::uint32_t>(protein.size()), sequence + 1,
                              static_cast<std::uint32_t>(partner.size()));
    append_sample(sample.batch, sample.plan, settings, vocabulary, protein, partner, 0);
    return sample;
}

/// Distance of a count of successes from its expectation, in standard deviations of the binomial distribution. Tests
/// ask for less than 5: by chance a right program fails one comparison in 1.7 million, and as all numbers are
/// counter-based, a test that passes once passes always.
inline double sigmas(double count, double trials, double probability) {
    return std::abs(count - trials * probability) / std::sqrt(trials * probability * (1 - probability));
}

}  // namespace protalbert::loader_test
