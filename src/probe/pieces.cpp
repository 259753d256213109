#include "probe/pieces.hpp"

#include <algorithm>

namespace protalbert {

std::vector<Piece> cut_protein(std::uint64_t residues, std::uint64_t piece_length) {
    if (piece_length == 0 || residues <= piece_length) return {{0, residues, 0, residues}};
    const std::uint64_t stride = std::max<std::uint64_t>(1, piece_length / 2);
    std::vector<Piece> pieces;
    std::uint64_t kept = 0;
    for (std::uint64_t first = 0;; first += stride) {
        first = std::min(first, residues - piece_length);
        const bool last = first == residues - piece_length;
        // Half way between this piece's middle and the next one's.
        const std::uint64_t next = std::min(first + stride, residues - piece_length);
        const std::uint64_t end = last ? residues : (first + next + piece_length) / 2;
        pieces.push_back({first, piece_length, kept, end - kept});
        kept = end;
        if (last) return pieces;
    }
}

}  // namespace protalbert
