#include "data/input_counts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstddef>

#include "base/progress.hpp"

namespace protalbert {

namespace {

// Of all letters, where single records are too short to tell; and of all records.
constexpr double nucleotides_of_all = 0.9;
constexpr double genes_of_all = 0.25;
constexpr std::uint64_t fewest_letters = 50;
// A set of proteins has all twenty letters; labels of structure have three or eight.
constexpr int letters_of_labels = 9;
constexpr std::uint64_t fewest_labels = 200;

std::string letters_of(std::uint32_t set) {
    std::string text;
    for (int i = 0; i < 26; ++i)
        if (set >> i & 1) text += static_cast<char>('A' + i);
    return text;
}

}  // namespace

void combine(InputCounts& counts, const Communicator& communicator) {
    for (std::uint64_t* value : {&counts.records, &counts.residues, &counts.replaced_residues, &counts.unknown_letters,
                                 &counts.stops, &counts.skipped_records, &counts.empty_records, &counts.comments,
                                 &counts.nucleotides, &counts.nucleotide_records, &counts.latin1_ids})
        communicator.sum(value, 1);
    std::uint64_t letters = 0;
    for (const std::uint64_t of_rank : communicator.gather_all(counts.letters)) letters |= of_rank;
    counts.letters = static_cast<std::uint32_t>(letters);
    std::vector<std::byte> text;
    for (const std::string& remark : counts.remarks) {
        const auto* const begin = reinterpret_cast<const std::byte*>(remark.c_str());
        text.insert(text.end(), begin, begin + remark.size() + 1);  // with the zero that ends it
    }
    text = communicator.concatenate(text);
    counts.remarks.clear();
    const auto* const all = reinterpret_cast<const char*>(text.data());
    for (std::size_t at = 0; at < text.size(); at += counts.remarks.back().size() + 1)
        counts.remarks.emplace_back(all + at);
}

std::vector<std::string> warnings(const InputCounts& counts) {
    // Many parts may have the same to tell.
    constexpr std::size_t most = 8;
    std::vector<std::string> lines(
        counts.remarks.begin(),
        counts.remarks.begin() + static_cast<std::ptrdiff_t>(std::min(most, counts.remarks.size())));
    if (counts.remarks.size() > most)
        lines.push_back(fmt::format("and {} more remarks of these kinds", counts.remarks.size() - most));
    const auto share = [](std::uint64_t part, std::uint64_t whole) {
        return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
    };
    const double letters = share(counts.nucleotides, counts.residues);
    const bool genes = share(counts.nucleotide_records, counts.records) >= genes_of_all;
    if (genes || (counts.residues >= fewest_letters && letters >= nucleotides_of_all))
        lines.push_back(fmt::format(
            "this looks like genes and not like proteins: {:.1f} % of the letters are A, C, G, T, U or N, and {} of {} "
            "records hold hardly any other; translate them first",
            100 * letters, format_count(counts.nucleotide_records), format_count(counts.records)));
    else if (counts.residues >= fewest_labels && std::popcount(counts.letters) <= letters_of_labels)
        lines.push_back(
            fmt::format("only the letters {} occur in {} residues; is this a file of proteins, or of labels?",
                        letters_of(counts.letters), format_count(counts.residues)));
    return lines;
}

}  // namespace protalbert
