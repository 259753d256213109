#include "data/input_counts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <utility>

#include "base/progress.hpp"
#include "data/byte_source.hpp"

namespace protalbert {

namespace {

// Of all letters, where single records are too short to tell; and of all records.
constexpr double nucleotides_of_all = 0.9;
constexpr double genes_of_all = 0.25;
constexpr double several_genes_of_all = 0.1;
constexpr std::uint64_t fewest_letters = 50;
// A set of proteins has all twenty letters; labels of structure have three or eight.
constexpr int letters_of_labels = 9;
constexpr std::uint64_t fewest_labels = 200;
// Residues a record, of which a set has at least so many: columns of single residues are none of proteins.
constexpr std::uint64_t fewest_residues = 3;
constexpr std::uint64_t fewest_records = 10;

constexpr std::size_t most_lines = 8;

std::string letters_of(std::uint32_t set) {
    std::string text;
    for (int i = 0; i < 26; ++i)
        if (set >> i & 1) text += static_cast<char>('A' + i);
    return text;
}

/// The contents of equal inputs joined.
std::vector<InputContent> of_inputs(std::vector<InputContent> parts) {
    std::stable_sort(parts.begin(), parts.end(),
                     [](const InputContent& a, const InputContent& b) { return a.input < b.input; });
    std::vector<InputContent> inputs;
    for (const InputContent& part : parts) {
        if (inputs.empty() || inputs.back().input != part.input) {
            inputs.push_back(part);
            continue;
        }
        InputContent& sum = inputs.back();
        sum.letters |= part.letters;
        sum.records += part.records;
        sum.residues += part.residues;
        sum.nucleotides += part.nucleotides;
        sum.nucleotide_records += part.nucleotide_records;
    }
    return inputs;
}

/// What an input seems to be; empty where it may be proteins.
std::string suspicion(const InputContent& content) {
    const auto share = [](std::uint64_t part, std::uint64_t whole) {
        return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
    };
    if (content.records > 0 && content.residues == 0)
        return fmt::format("has no residues in {} records", format_count(content.records));
    const double nucleotides = share(content.nucleotides, content.residues);
    const double genes = share(content.nucleotide_records, content.records);
    if (genes >= genes_of_all || (content.nucleotide_records > 1 && genes >= several_genes_of_all) ||
        (content.residues >= fewest_letters && nucleotides >= nucleotides_of_all))
        return fmt::format(
            "looks like genes and not like proteins: {:.1f} % of the letters are A, C, G, T, U or N, and {} of {} "
            "records hold hardly any other; translate them first",
            100 * nucleotides, format_count(content.nucleotide_records), format_count(content.records));
    if (content.residues >= fewest_labels && std::popcount(content.letters) <= letters_of_labels)
        return fmt::format("has only the letters {} in {} residues; is this a file of proteins, or of labels?",
                           letters_of(content.letters), format_count(content.residues));
    if (content.records >= fewest_records && content.residues < fewest_residues * content.records)
        return fmt::format("has {} residues in {} records; is each protein whole, or are these columns of letters?",
                           format_count(content.residues), format_count(content.records));
    return "";
}

/// The first lines, and how many more there are.
void add_some(std::vector<std::string>& lines, const std::vector<std::string>& more, const char* of_these) {
    const std::size_t count = std::min(most_lines, more.size());
    lines.insert(lines.end(), more.begin(), more.begin() + static_cast<std::ptrdiff_t>(count));
    if (more.size() > count) lines.push_back(fmt::format("and {} more {}", more.size() - count, of_these));
}

}  // namespace

void combine(InputCounts& counts, const Communicator& communicator) {
    for (std::uint64_t* value :
         {&counts.records, &counts.residues, &counts.replaced_residues, &counts.unknown_letters, &counts.stops,
          &counts.skipped_records, &counts.empty_records, &counts.comments, &counts.latin1_ids})
        communicator.sum(value, 1);
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

    counts.contents = of_inputs(std::move(counts.contents));
    const auto* const mine = reinterpret_cast<const std::byte*>(counts.contents.data());
    const std::vector<std::byte> contents =
        communicator.concatenate(std::vector<std::byte>(mine, mine + counts.contents.size() * sizeof(InputContent)));
    counts.contents.resize(contents.size() / sizeof(InputContent));
    if (!contents.empty()) std::memcpy(counts.contents.data(), contents.data(), contents.size());
    counts.contents = of_inputs(std::move(counts.contents));
}

std::vector<std::string> warnings(const InputCounts& counts, const std::vector<std::string>& inputs) {
    std::vector<std::string> lines;
    // Many parts and inputs may have the same to tell.
    add_some(lines, counts.remarks, "remarks of these kinds");
    std::vector<std::string> suspicions;
    for (const InputContent& content : counts.contents)
        if (const std::string what = suspicion(content); !what.empty())
            suspicions.push_back(fmt::format("{} {}", input_name(inputs[content.input]), what));
    add_some(lines, suspicions, "inputs like these");
    return lines;
}

}  // namespace protalbert
