#include "bench/length_model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/progress.hpp"
#include "base/random.hpp"
#include "comm/number_range.hpp"
#include "data/corpus.hpp"

namespace protalbert {

std::uint32_t LengthModel::length(std::uint64_t number) const {
    // Sequences are stored in a random order, so that any stretch of them stands for all.
    if (!lengths.empty()) return lengths[number % lengths.size()];
    RandomStream random(1, Purpose::bench, 1, number);
    const double drawn = median * std::exp(deviation * random.normal());
    return static_cast<std::uint32_t>(std::clamp(drawn, 1.0, static_cast<double>(longest)));
}

std::uint64_t LengthModel::residues() const {
    double mean = median * std::exp(0.5 * deviation * deviation);
    if (!lengths.empty())
        mean = std::accumulate(lengths.begin(), lengths.end(), 0.0) / static_cast<double>(lengths.size());
    return static_cast<std::uint64_t>(static_cast<double>(sequences) * mean);
}

std::string LengthModel::description() const {
    if (!lengths.empty()) return fmt::format("as the {} of {}", format_count(lengths.size()), corpus);
    return fmt::format("log-normal, median {:.0f}, deviation of the logarithm {}", median, deviation);
}

void add_length_options(CLI::App& command, LengthModel& lengths) {
    command.add_option("--sequences", lengths.sequences, "of the corpus; the default is UniRef100's of 2019")
        ->capture_default_str()
        ->check(CLI::Range(1, 2000000000));
    auto* const median =
        command.add_option("--median", lengths.median, "residues of a sequence; lengths are log-normal")
            ->capture_default_str()
            ->check(number_range(1, 45000));
    auto* const deviation = command.add_option("--deviation", lengths.deviation, "of the lengths' logarithm")
                                ->capture_default_str()
                                ->check(number_range(0, 3));
    command.add_option("--corpus", lengths.corpus, "prepared corpus whose lengths count instead, repeated")
        ->excludes(median)
        ->excludes(deviation);
}

void read_lengths(LengthModel& lengths, const Communicator& communicator) {
    if (lengths.corpus.empty()) return;
    const Corpus corpus(lengths.corpus, communicator);
    const std::vector<std::uint64_t> offsets = corpus.read_index(0, corpus.sequences()).offsets;
    lengths.lengths.resize(corpus.sequences());
    for (std::size_t i = 0; i < lengths.lengths.size(); ++i)
        lengths.lengths[i] = static_cast<std::uint32_t>(offsets[i + 1] - offsets[i]);
}

}  // namespace protalbert
