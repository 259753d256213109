#pragma once
// A prepared corpus: residues of all sequences one after another in a random order fixed when it was made.
// HDF5: /tokens uint8 [R], /offsets uint64 [N + 1], /documents uint64 [D + 1], /vocabulary [V], optional /ids [N] and
// /checksums uint32 [N]: of each sequence the low half of XXH3 (64 bits) of its tokens, seeded with twice its number,
// plus 1 where it begins a document.

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "data/vocabulary.hpp"

namespace protalbert {

/// What a corpus's tables say of sequences [first, first + count): 12 bytes each.
struct CorpusIndex {
    std::uint64_t first = 0;
    std::vector<std::uint64_t> offsets;    ///< [count + 1] into /tokens, ascending
    std::vector<std::uint32_t> checksums;  ///< [count]; empty where the file has none

    std::uint64_t count() const { return offsets.size() - 1; }
};

/// A corpus opened for reading. Reads are plain positioned reads of the contiguous datasets: any thread may read, and
/// HDF5 is not involved after opening.
class Corpus {
  public:
    /// Throws InputError when the file is missing, not a corpus, or its tables contradict each other or its size.
    Corpus(const std::string& path, const Communicator& communicator);
    ~Corpus();
    Corpus(const Corpus&) = delete;
    Corpus& operator=(const Corpus&) = delete;

    const std::string& path() const { return path_; }
    const Vocabulary& vocabulary() const { return vocabulary_; }
    std::uint64_t sequences() const { return sequences_; }   ///< N
    std::uint64_t residues() const { return residues_; }     ///< R
    std::uint64_t hash() const { return hash_; }             ///< of the content, as stored; 0 where the file has none
    double composition_entropy() const { return entropy_; }  ///< nats per residue; NaN where the file has none

    /// The tables of sequences [first, first + count). Throws InputError naming the file when they are damaged: offsets
    /// that decrease or leave the file.
    CorpusIndex read_index(std::uint64_t first, std::uint64_t count) const;

    /// Sequences [first, first + count) as one contiguous piece. offsets [count + 1] start at 0.
    struct Piece {
        std::uint64_t first = 0;
        std::vector<std::uint64_t> offsets;
        std::vector<std::uint8_t> tokens;
    };
    /// One read of the file. `index` holds the sequences, maybe others too. Throws InputError naming the file when a
    /// token is outside the vocabulary or a sequence does not fit its checksum.
    void read(const CorpusIndex& index, std::uint64_t first, std::uint64_t count, Piece& piece) const;
    /// The same of sequences whose index nobody holds.
    void read(std::uint64_t first, std::uint64_t count, Piece& piece) const {
        read(read_index(first, count), first, count, piece);
    }

  private:
    std::string path_;
    Vocabulary vocabulary_;
    int descriptor_ = -1;
    std::uint64_t sequences_ = 0;
    std::uint64_t residues_ = 0;
    std::uint64_t hash_ = 0;
    double entropy_ = 0;
    std::uint64_t tokens_position_ = 0;     ///< bytes into the file
    std::uint64_t offsets_position_ = 0;    ///< bytes into the file
    std::uint64_t checksums_position_ = 0;  ///< bytes into the file; 0: it has none
};

}  // namespace protalbert
