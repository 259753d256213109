#pragma once
// Proteins with labels, matched by id over label files, masks and residues.
//
// Secondary structure: FASTA with a letter a residue, headers ">ID SET=train|test VALIDATION=True|False" (split.hpp);
// one file a kind of labels; a mask with 1 where structure labels count. '-' and '.' are residues without label.
// Localization: FASTA of the residues with headers that tell the location (locations.hpp).

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "probe/split.hpp"
#include "probe/task.hpp"

namespace protalbert {

/// The label files of a call; empty where there is none.
struct LabelFiles {
    std::string three_state, eight_state, disorder;  ///< secondary structure
    std::string mask;                                ///< of three_state and eight_state
    std::string localization;
};

/// Where the labels of a kind were read.
struct LabelSource {
    std::string file;
    std::string unlabelled;  ///< which of '-' and '.' the file has: letters that are no label
    TextForm form;
};

/// The same on every rank: a byte a label, and the ids.
struct LabelledProteins {
    Task task = Task::secondary_structure;
    std::string file;                  ///< that names the proteins
    std::vector<LabelKind> kinds;      ///< [K] those that there are labels of
    std::vector<LabelSource> sources;  ///< [K]
    std::vector<std::string> ids;      ///< [N]
    std::vector<Split> splits;         ///< [N]
    /// [N] residues of each protein.
    std::vector<std::uint64_t> lengths;
    /// [N + 1] first labelled row of each protein: its residues, or itself.
    std::vector<std::uint64_t> rows;
    /// [K][rows] class, -1: none.
    std::vector<std::vector<std::int8_t>> labels;

    std::size_t count() const { return ids.size(); }
    /// Numbers of the proteins of a split, ascending.
    std::vector<std::uint32_t> members(Split split) const;
};

/// Reads them. Where no protein is for validation, a share of the training proteins is, chosen by the seed. Warns of
/// proteins whose split is told nowhere. Collective. Throws InputError naming file, line, protein and letter for what
/// does not fit.
LabelledProteins read_labels(Task task, const LabelFiles& files, double validation_share, std::uint64_t seed,
                             const Communicator& communicator);

/// Moves that share of the training proteins to validation when there is no protein for it.
void hold_out_validation(LabelledProteins& proteins, double share, std::uint64_t seed);

/// The same proteins with exactly these kinds: no labels of a kind that the files did not have. Throws InputError when
/// none is left.
LabelledProteins labels_of_kinds(const LabelledProteins& proteins, const std::vector<LabelKind>& kinds);

/// Residue ids (0 .. 20, X last) of the labelled proteins from a FASTA file, one after another; `rows` as `lengths` of
/// the proteins add up. Throws InputError naming a protein that is missing or of another length, and a letter that is
/// no residue.
struct Residues {
    std::vector<std::uint8_t> ids;      ///< [sum of lengths] index into residue_letters
    std::vector<std::uint64_t> firsts;  ///< [N + 1]
};
constexpr const char* residue_letters = "ACDEFGHIKLMNPQRSTVWYX";
constexpr std::int64_t residue_kinds = 21;
Residues read_residues(const std::string& path, const LabelledProteins& proteins, const Communicator& communicator);

/// Takes the lengths from the residues: headers of localization need no residues below them.
void take_lengths(LabelledProteins& proteins, const Residues& residues);

/// Rows of proteins: residues, or one each.
std::int64_t row_count(const LabelledProteins& proteins, const std::vector<std::uint32_t>& numbers);

/// Rows of the numbered proteins that have a label of kind k.
std::uint64_t labelled_rows(const LabelledProteins& proteins, std::size_t k, const std::vector<std::uint32_t>& numbers);

}  // namespace protalbert
