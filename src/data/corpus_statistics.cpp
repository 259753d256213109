#include "data/corpus_statistics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/progress.hpp"

namespace protalbert {

void CorpusStatistics::add_sequence(std::span<const std::uint8_t> tokens) {
    ++sequences;
    residues += tokens.size();
    longest = std::max<std::uint64_t>(longest, tokens.size());
    ++lengths[std::min(tokens.size(), counted_lengths)];
    const std::size_t whole = tokens.size() / 4 * 4;
    for (std::size_t i = 0; i < whole; i += 4)
        for (std::size_t j = 0; j < 4; ++j) ++counts[j][tokens[i + j]];
    for (std::size_t i = whole; i < tokens.size(); ++i) ++counts[0][tokens[i]];
}

std::array<std::uint64_t, 256> CorpusStatistics::composition() const {
    std::array<std::uint64_t, 256> sum{};
    for (const auto& table : counts)
        for (std::size_t id = 0; id < sum.size(); ++id) sum[id] += table[id];
    return sum;
}

void CorpusStatistics::combine(const Communicator& communicator) {
    for (std::uint64_t* value : {&sequences, &documents, &residues}) communicator.sum(value, 1);
    communicator.sum(lengths.data(), static_cast<int>(lengths.size()));
    for (auto& table : counts) communicator.sum(table.data(), static_cast<int>(table.size()));
    for (std::uint64_t* value : {&longest, &longest_id})
        *value = static_cast<std::uint64_t>(communicator.maximum(static_cast<std::int64_t>(*value)));
}

double CorpusStatistics::entropy() const {
    double nats = 0;
    for (const std::uint64_t count : composition()) {
        if (count == 0) continue;
        const double share = static_cast<double>(count) / static_cast<double>(residues);
        nats -= share * std::log(share);
    }
    return nats;
}

std::uint64_t CorpusStatistics::length_percentile(double fraction) const {
    const auto wanted = static_cast<std::uint64_t>(std::ceil(fraction * static_cast<double>(sequences)));
    std::uint64_t below = 0;
    for (std::size_t length = 0; length < counted_lengths; ++length) {
        below += lengths[length];
        if (below >= std::max<std::uint64_t>(wanted, 1)) return length;
    }
    return longest;
}

std::vector<std::string> describe(const CorpusStatistics& statistics, const Vocabulary& vocabulary) {
    const auto length = [&](double fraction) { return format_count(statistics.length_percentile(fraction)); };
    const auto mean = static_cast<double>(statistics.residues) / static_cast<double>(statistics.sequences);
    std::vector<std::string> lines;
    lines.push_back(fmt::format("  sequences    {}{}", format_count(statistics.sequences),
                                statistics.documents == statistics.sequences
                                    ? ""
                                    : fmt::format(" in {} documents", format_count(statistics.documents))));
    lines.push_back(fmt::format("  residues     {}, {:.1f} a sequence", format_count(statistics.residues), mean));
    lines.push_back(
        fmt::format("  lengths      shortest {}, 5 % up to {}, 25 % {}, half {}, 75 % {}, 95 % {}, 99 % {}, "
                    "longest {}",
                    length(0), length(0.05), length(0.25), length(0.5), length(0.75), length(0.95), length(0.99),
                    format_count(statistics.longest)));
    const std::array<std::uint64_t, 256> composition = statistics.composition();
    std::vector<std::size_t> ids(vocabulary.pieces.size());
    std::iota(ids.begin(), ids.end(), std::size_t{0});
    std::stable_sort(ids.begin(), ids.end(), [&](auto a, auto b) { return composition[a] > composition[b]; });
    std::string line;
    constexpr int shares_in_line = 7;
    int shares = 0;
    for (const std::size_t id : ids) {
        if (composition[id] == 0) break;
        const double percent = 100.0 * static_cast<double>(composition[id]) / static_cast<double>(statistics.residues);
        if (shares++ % shares_in_line == 0) {
            if (!line.empty()) lines.push_back(line);
            line = shares == 1 ? "  composition  " : "               ";
        }
        line += fmt::format("{}{} {}", (shares - 1) % shares_in_line == 0 ? "" : "  ", vocabulary.pieces[id],
                            percent < 0.01 ? "< 0.01 %" : fmt::format("{:.2f} %", percent));
    }
    if (!line.empty()) lines.push_back(line);
    lines.push_back(
        fmt::format("  entropy      {:.4f} nats: the loss of a model that knows this composition and nothing more",
                    statistics.entropy()));
    return lines;
}

}  // namespace protalbert
