// Looks at corpora from outside, for the tests of protalbert_prepare. Prints what is wrong and returns 1.
//
//   check_corpus same A B                       equal datasets and attributes
//   check_corpus holds CORPUS[+CORPUS] INPUT... the corpora together hold exactly the sequences of the inputs,
//   documents
//                                               whole (but for a holdout), ids where they are kept, in another order
//
// The inputs are read line by line in the simplest way, without the program's own reader.

#include <fmt/format.h>
#include <zlib.h>

#include <cctype>
#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "io/hdf5.hpp"

namespace {

using namespace protalbert;

int failures = 0;

template <class... Arguments>
void expect(bool condition, fmt::format_string<Arguments...> message, Arguments&&... arguments) {
    if (condition) return;
    ++failures;
    fmt::print(stderr, "check_corpus: {}\n", fmt::format(message, std::forward<Arguments>(arguments)...));
}

std::vector<char> bytes_of(const Hdf5File& file, const std::string& name) {
    const bool strings = name == "/vocabulary" || name == "/ids";
    std::vector<char> bytes;
    if (strings) {
        for (const std::string& text : file.read_strings(name)) {
            bytes.insert(bytes.end(), text.begin(), text.end());
            bytes.push_back('\n');
        }
        return bytes;
    }
    const std::uint64_t length = file.shape(name).at(0);
    bytes.resize(length * element_size(file.element(name)));
    file.read_independent(name, bytes.data(), {0, length});
    return bytes;
}

void check_same(const std::string& first, const std::string& second) {
    const Hdf5File a = Hdf5File::open_alone(first), b = Hdf5File::open_alone(second);
    expect(a.list("/") == b.list("/"), "{} and {} have other datasets", first, second);
    for (const std::string& name : a.list("/"))
        expect(bytes_of(a, "/" + name) == bytes_of(b, "/" + name), "/{} differs between {} and {}", name, first,
               second);
    for (const char* name : {"format", "program", "part", "sources"})
        expect(a.text_attribute("/", name) == b.text_attribute("/", name), "attribute {} differs", name);
    for (const char* name : {"version", "seed", "hash", "sequences", "documents", "residues", "longest"})
        expect(a.unsigned_attribute("/", name) == b.unsigned_attribute("/", name), "attribute {} differs", name);
    for (const char* name : {"holdout", "entropy"})
        expect(a.number_attribute("/", name) == b.number_attribute("/", name), "attribute {} differs", name);
}

std::string read_input(const std::string& path) {
    gzFile file = gzopen(path.c_str(), "rb");
    std::string content, buffer(1 << 20, '\0');
    for (int count; (count = gzread(file, buffer.data(), static_cast<unsigned>(buffer.size()))) > 0;)
        content.append(buffer, 0, static_cast<std::size_t>(count));
    gzclose(file);
    return content;
}

struct Protein {
    std::string id;
    std::string residues;
    std::size_t document = 0;
};

std::vector<Protein> naive_proteins(const std::vector<std::string>& inputs) {
    std::vector<Protein> proteins;
    std::size_t document = 0;
    for (const std::string& input : inputs) {
        std::istringstream lines(read_input(input));
        const bool fasta = lines.peek() == '>';
        const std::string name = input.substr(input.rfind('/') + 1);
        std::size_t number = 0;
        ++document;
        for (std::string line; std::getline(lines, line);) {
            ++number;
            while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back()))) line.pop_back();
            if (fasta && line[0] == '>') {
                proteins.push_back({line.substr(1, line.find(' ') - 1), "", ++document});
                continue;
            }
            if (!fasta && line.empty()) {
                ++document;
                continue;
            }
            if (!fasta) proteins.push_back({fmt::format("{}:{}", name, number), "", document});
            for (char letter : line) {
                letter = static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
                if (letter == ' ' || letter == '*') continue;
                proteins.back().residues += std::string("UZOB").find(letter) != std::string::npos ? 'X' : letter;
            }
        }
    }
    std::erase_if(proteins, [](const Protein& protein) { return protein.residues.empty(); });
    return proteins;
}

std::vector<Protein> stored_proteins(const std::string& path) {
    const Hdf5File file = Hdf5File::open_alone(path);
    const auto read = [&](const char* name, auto& values) {
        values.resize(file.shape(name).at(0));
        file.read_independent(name, values.data(), {0, values.size()});
    };
    std::vector<std::uint8_t> tokens;
    std::vector<std::uint64_t> offsets, documents, composition;
    read("/tokens", tokens);
    read("/offsets", offsets);
    read("/documents", documents);
    read("/composition", composition);
    const std::vector<std::string> pieces = file.read_strings("/vocabulary");
    const std::vector<std::string> ids = file.exists("/ids") ? file.read_strings("/ids") : std::vector<std::string>();
    const std::uint64_t sequences = offsets.size() - 1;
    expect(offsets.front() == 0 && offsets.back() == tokens.size(), "/offsets do not end with the tokens");
    expect(documents.front() == 0 && documents.back() == sequences, "/documents do not end with the sequences");
    expect(file.unsigned_attribute("/", "sequences") == sequences, "attribute sequences");
    expect(file.unsigned_attribute("/", "documents") == documents.size() - 1, "attribute documents");
    expect(file.unsigned_attribute("/", "residues") == tokens.size(), "attribute residues");

    std::vector<std::uint64_t> counts(pieces.size(), 0);
    for (const std::uint8_t token : tokens) ++counts[token];
    expect(counts == composition, "/composition is not that of /tokens");
    double entropy = 0;
    for (const std::uint64_t count : counts)
        if (count > 0)
            entropy -= static_cast<double>(count) / static_cast<double>(tokens.size()) *
                       std::log(static_cast<double>(count) / static_cast<double>(tokens.size()));
    // Summed in the same order from the same counts: equal to a few roundings of a number near 3.
    expect(std::abs(entropy - file.number_attribute("/", "entropy")) < 1e-12, "attribute entropy");

    std::vector<Protein> proteins;
    std::uint64_t longest = 0;
    for (std::size_t document = 0; document + 1 < documents.size(); ++document) {
        expect(documents[document] < documents[document + 1], "document {} is empty", document);
        for (std::uint64_t i = documents[document]; i < documents[document + 1]; ++i) {
            Protein protein{ids.empty() ? "" : ids[i], "", document};
            for (std::uint64_t r = offsets[i]; r < offsets[i + 1]; ++r) protein.residues += pieces[tokens[r]];
            longest = std::max<std::uint64_t>(longest, protein.residues.size());
            proteins.push_back(protein);
        }
    }
    expect(file.unsigned_attribute("/", "longest") == longest, "attribute longest");
    return proteins;
}

/// Documents as lists of their sequences' ids and residues.
std::map<std::size_t, std::vector<std::string>> documents_of(const std::vector<Protein>& proteins, bool ids) {
    std::map<std::size_t, std::vector<std::string>> documents;
    for (const Protein& protein : proteins)
        documents[protein.document].push_back((ids ? protein.id + "=" : "") + protein.residues);
    return documents;
}

/// Spearman's rank correlation of the order in the input and in the corpus, of sequences that occur once.
double order_correlation(const std::vector<Protein>& input, const std::vector<Protein>& stored) {
    std::map<std::string, std::vector<std::size_t>> places;
    for (std::size_t i = 0; i < input.size(); ++i) places[input[i].residues].push_back(i);
    double mean_x = 0, mean_y = 0, n = 0;
    std::vector<std::pair<double, double>> pairs;
    for (std::size_t i = 0; i < stored.size(); ++i) {
        const auto& place = places[stored[i].residues];
        if (place.size() == 1) pairs.emplace_back(static_cast<double>(place[0]), static_cast<double>(i));
    }
    for (const auto& [x, y] : pairs) mean_x += x, mean_y += y, ++n;
    mean_x /= n;
    mean_y /= n;
    double xy = 0, xx = 0, yy = 0;
    for (const auto& [x, y] : pairs)
        xy += (x - mean_x) * (y - mean_y), xx += (x - mean_x) * (x - mean_x), yy += (y - mean_y) * (y - mean_y);
    return xy / std::sqrt(xx * yy);
}

void check_holds(const std::string& corpora, const std::vector<std::string>& inputs) {
    const std::vector<Protein> input = naive_proteins(inputs);
    const std::size_t plus = corpora.find('+');
    const std::vector<Protein> stored = stored_proteins(corpora.substr(0, plus));
    const bool ids = !stored.empty() && !stored[0].id.empty();
    const auto list = [&](const std::vector<Protein>& proteins) {
        std::multiset<std::vector<std::string>> set;
        for (const auto& [number, document] : documents_of(proteins, ids)) set.insert(document);
        return set;
    };
    if (plus == std::string::npos) {
        expect(list(stored) == list(input), "the documents of {} are not those of the input", corpora);
    } else {
        std::vector<Protein> both = stored;
        std::multiset<std::string> expected, found;
        std::set<std::string> training;
        for (const Protein& protein : stored) training.insert(protein.residues);
        for (const Protein& protein : stored_proteins(corpora.substr(plus + 1))) {
            expect(!training.contains(protein.residues), "a sequence is in the corpus and in its holdout");
            both.push_back(protein);
        }
        for (const Protein& protein : input) expected.insert((ids ? protein.id + "=" : "") + protein.residues);
        for (const Protein& protein : both) found.insert((ids ? protein.id + "=" : "") + protein.residues);
        expect(expected == found, "the sequences of {} are not those of the input", corpora);
    }
    // Of n unrelated places the correlation has a deviation of 1 / sqrt(n - 1), and a document is one place; five of
    // these deviations are never met by chance.
    const double correlation = order_correlation(input, stored);
    const auto places = static_cast<double>(stored.back().document + 1);
    expect(std::abs(correlation) < 5 / std::sqrt(places), "the order of {} follows that of the input: correlation {}",
           corpora, correlation);
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    try {
        if (arguments.size() == 3 && arguments[0] == "same")
            check_same(arguments[1], arguments[2]);
        else if (arguments.size() >= 3 && arguments[0] == "holds")
            check_holds(arguments[1], {arguments.begin() + 2, arguments.end()});
        else
            expect(false, "usage: same A B, or holds CORPUS[+CORPUS] INPUT...");
    } catch (const std::exception& error) {
        expect(false, "{}", error.what());
    }
    return failures > 0;
}
