#pragma once
// Long proteins in pieces, for encoders that were pretrained on short ones and know no later positions: pieces of equal
// length overlap by half, and each residue's vector is taken from the piece in which it lies farthest from an end.

#include <cstdint>
#include <vector>

namespace protalbert {

/// Residues [first, first + length) go through the encoder together; of their vectors those of residues
/// [kept, kept + kept_count) are used.
struct Piece {
    std::uint64_t first = 0, length = 0;
    std::uint64_t kept = 0, kept_count = 0;
};

/// The pieces of a protein of `residues` residues, in order; their kept parts follow one another and are everything.
/// `piece_length` 0: always one.
std::vector<Piece> cut_protein(std::uint64_t residues, std::uint64_t piece_length);

}  // namespace protalbert
