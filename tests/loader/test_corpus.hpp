#pragma once
// A corpus of random proteins in memory and in a file, for the tests of the loader.

#include <cstdint>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "comm/communicator.hpp"
#include "data/vocabulary.hpp"
#include "io/hdf5.hpp"

namespace protalbert::loader_test {

using Proteins = std::vector<std::vector<std::uint8_t>>;

/// `count` proteins, the same on every rank: most of 2 to 120 residues, one in 50 of a single residue, one in 200
/// longer than any target of the tests.
inline Proteins random_proteins(std::uint64_t count) {
    RandomStream random(11, Purpose::bench, 1, count);
    Proteins proteins(count);
    for (auto& protein : proteins) {
        std::uint64_t length = 2 + random.below(119);
        if (random.below(50) == 0) length = 1;
        if (random.below(200) == 0) length = 1500;
        protein.resize(length);
        for (auto& residue : protein) residue = static_cast<std::uint8_t>(13 + random.below(21));
    }
    return proteins;
}

inline std::uint64_t residue_count(const Proteins& proteins) {
    std::uint64_t residues = 0;
    for (const auto& protein : proteins) residues += protein.size();
    return residues;
}

enum class Damage { none, offset, token };

/// Writes a corpus file (collectively: rank 0 writes). An offset in the middle decreases, or a residue in the middle is
/// none of the vocabulary's.
inline void write_corpus(const std::string& path, const Proteins& proteins, const Communicator& communicator,
                         Damage damage = Damage::none) {
    std::vector<std::uint8_t> tokens;
    std::vector<std::uint64_t> offsets = {0}, documents;
    for (const auto& protein : proteins) {
        documents.push_back(offsets.size() - 1);
        tokens.insert(tokens.end(), protein.begin(), protein.end());
        offsets.push_back(tokens.size());
    }
    documents.push_back(proteins.size());
    if (damage == Damage::offset) offsets[offsets.size() / 2] = tokens.size() + 1;
    if (damage == Damage::token) tokens[tokens.size() / 2] = 255;
    const auto& pieces = default_vocabulary().pieces;

    Hdf5File file = Hdf5File::create(path, communicator);
    write_format(file, "protalbert corpus", 1);
    file.create_dataset("/tokens", Element::uint8, {tokens.size()});
    file.create_dataset("/offsets", Element::uint64, {offsets.size()});
    file.create_dataset("/documents", Element::uint64, {documents.size()});
    file.create_strings("/vocabulary", pieces.size(), 16);
    auto rows = [&](std::size_t count) { return Rows{0, communicator.root() ? count : 0}; };
    file.write("/tokens", tokens.data(), rows(tokens.size()));
    file.write("/offsets", offsets.data(), rows(offsets.size()));
    file.write("/documents", documents.data(), rows(documents.size()));
    file.write_strings("/vocabulary", communicator.root() ? pieces : std::vector<std::string>(), 0);
    file.close();
}

}  // namespace protalbert::loader_test
