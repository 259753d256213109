#pragma once
// Windows over a protein that is longer than the model: each goes through the model as one sequence, and where they
// overlap their vectors are blended. A residue attends to its own windows alone.

#include <cstdint>
#include <span>
#include <vector>

namespace protalbert {

/// Residues [first, first + length) of a protein.
struct Window {
    std::uint64_t first = 0, length = 0;
};

/// Windows of a protein; one where it fits into `longest` residues.
std::uint64_t count_windows(std::uint64_t residues, std::uint64_t longest);

/// The windows, in order: all of `longest` residues, spread evenly from the protein's first residue to its last, and as
/// few as overlap by at least half. So every residue is in a window that shows a quarter of `longest` or more on either
/// side of it (or the protein's end), and the windows' residues are at most twice the protein's. A protein that fits is
/// one window of its own length. `longest` is at least 1.
std::vector<Window> cut_windows(std::uint64_t residues, std::uint64_t longest);

/// What each of a window's residues counts in the blend, [length]; over all windows a residue's weights add to one.
///
/// Before that division a window weighs its residue i, 0 <= i < length, by the distance to the nearer end at which the
/// protein goes on: min(i + 1, length - i), where the first window has no such end on the left and the last none on the
/// right. Vectors near a cut know least of their surroundings, and count least; weights are linear in i, so that
/// neighbours in the protein have similar ones and no step appears where a window begins or ends.
std::vector<double> window_weights(std::span<const Window> windows, std::size_t number);

}  // namespace protalbert
