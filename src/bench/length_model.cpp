#include "bench/length_model.hpp"

#include <algorithm>
#include <cmath>

#include "base/random.hpp"

namespace protalbert {

std::uint32_t LengthModel::length(std::uint64_t number) const {
    RandomStream random(1, Purpose::bench, 1, number);
    const double drawn = median * std::exp(deviation * random.normal());
    return static_cast<std::uint32_t>(std::clamp(drawn, 1.0, static_cast<double>(longest)));
}

std::uint64_t LengthModel::residues() const {
    return static_cast<std::uint64_t>(static_cast<double>(sequences) * median * std::exp(0.5 * deviation * deviation));
}

void add_length_options(CLI::App& command, LengthModel& lengths) {
    command.add_option("--sequences", lengths.sequences, "of the corpus; the default is UniRef100's of 2019")
        ->capture_default_str()
        ->check(CLI::Range(1, 2000000000));
    command.add_option("--median", lengths.median, "residues of a sequence; lengths are log-normal")
        ->capture_default_str()
        ->check(CLI::Range(1.0, 45000.0));
    command.add_option("--deviation", lengths.deviation, "of the lengths' logarithm")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 3.0));
}

}  // namespace protalbert
