#include "probe/labels.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/progress.hpp"
#include "base/random.hpp"
#include "data/vocabulary.hpp"
#include "probe/locations.hpp"
#include "probe/records.hpp"

namespace protalbert {
namespace {

/// Classes of a record's letters; -1 for '-' and '.', which are added to `unlabelled` where it lacks them.
std::vector<std::int8_t> read_classes(const std::string& path, const Record& record, const LabelKind& kind,
                                      std::string& unlabelled) {
    std::vector<std::int8_t> classes;
    classes.reserve(record.text.size());
    for (const char letter : record.text) {
        const std::size_t found = kind.letters.find(letter);
        if (found == std::string::npos && letter != '-' && letter != '.')
            throw InputError(
                fmt::format("{}: label '{}' of residue {} is none of {}{}; write '-' where there is no label",
                            record_place(path, record), letter, classes.size() + 1, kind.letters,
                            kind.letters.ends_with('C') ? ", in capitals (C: coil, loop, all that is left)" : ""));
        if (found == std::string::npos && unlabelled.find(letter) == std::string::npos) unlabelled += letter;
        classes.push_back(found == std::string::npos ? std::int8_t{-1} : static_cast<std::int8_t>(found));
    }
    return classes;
}

/// What the headers say about each protein's split, over all files.
struct ToldSplits {
    std::vector<std::optional<Split>> splits;  ///< [N]
    std::vector<std::string> places;           ///< [N] of the headers that name the proteins

    void add(std::size_t protein, std::optional<Split> split, const std::string& place) {
        splits[protein] = agreed_split(splits[protein], places[protein], split, place);
    }
};

/// Proteins whose split is told nowhere are for training. Said aloud where others have fields that tell it.
void set_splits(LabelledProteins& proteins, const ToldSplits& told, bool fields_expected,
                const Communicator& communicator) {
    std::size_t without = 0, first = 0;
    for (std::size_t i = 0; i < told.splits.size(); ++i) {
        proteins.splits.push_back(told.splits[i].value_or(Split::train));
        if (!told.splits[i] && without++ == 0) first = i;
    }
    if (fields_expected && without > 0 && communicator.root())
        log_warning(
            fmt::format("{} of {} proteins have no SET=train or SET=test in their header (the first is {}): "
                        "they are for training",
                        format_count(without), format_count(proteins.count()), told.places[first]));
}

void check_length(std::size_t length, std::size_t wanted, const std::string& place, const std::string& what,
                  const std::string& other) {
    if (length != wanted)
        throw InputError(fmt::format("{} has {} {}, but {} for it in {}; they must be of the same protein", place,
                                     length, what, wanted, other));
}

/// DSSP writes coil as a blank, which is no letter of a FASTA file.
void warn_of_blanks(const std::string& path, const std::vector<Record>& records, const Communicator& communicator) {
    const auto found = std::find_if(records.begin(), records.end(), [](const Record& record) { return record.blanks; });
    if (found == records.end() || !communicator.root()) return;
    log_warning(fmt::format("{} has blanks between its labels, which count nothing; where they stand for coil, write C",
                            record_place(path, *found)));
}

LabelledProteins read_structure(const LabelFiles& files, const Communicator& communicator) {
    LabelledProteins proteins;
    ToldSplits told;
    const std::span<const LabelKind> kinds = label_kinds(Task::secondary_structure);
    const std::string* const paths[] = {&files.three_state, &files.eight_state, &files.disorder};
    PROTALBERT_CHECK(kinds.size() == std::size(paths), "each kind of label has its file");
    for (std::size_t k = 0; k < std::size(paths); ++k) {
        const std::string& path = *paths[k];
        if (path.empty()) continue;
        const RecordFile file = read_records(path, "the label file", communicator);
        const std::vector<Record>& records = file.records;
        warn_of_blanks(path, records, communicator);
        const RecordIndex index(path, "label", records);
        // The first file names the proteins; the others must have them all.
        const bool first = proteins.kinds.empty();
        if (first) {
            proteins.file = path;
            proteins.rows = {0};
            for (const Record& record : records) {
                proteins.ids.push_back(record.id);
                proteins.lengths.push_back(record.text.size());
                proteins.rows.push_back(proteins.rows.back() + record.text.size());
                told.places.push_back(record_place(path, record));
            }
            told.splits.resize(records.size());
        }
        proteins.kinds.push_back(kinds[k]);
        LabelSource source{path, "", file.form};
        std::vector<std::int8_t>& labels = proteins.labels.emplace_back();
        labels.reserve(proteins.rows.back());
        for (std::size_t i = 0; i < proteins.count(); ++i) {
            const Record& record = first ? records[i] : index.find(proteins.ids[i], proteins.file);
            check_length(record.text.size(), proteins.lengths[i], record_place(path, record), "labels", proteins.file);
            told.add(i, read_split(path, record), record_place(path, record));
            const std::vector<std::int8_t> classes = read_classes(path, record, kinds[k], source.unlabelled);
            labels.insert(labels.end(), classes.begin(), classes.end());
        }
        proteins.sources.push_back(source);
    }
    if (proteins.kinds.empty())
        throw InputError("there are no labels; give one or more of --three-state, --eight-state and --disorder");
    set_splits(proteins, told, true, communicator);
    return proteins;
}

/// Takes the labels of structure away where the mask is 0. Disorder stays: residues without structure are what it is.
void apply_mask(LabelledProteins& proteins, const std::string& path, const Communicator& communicator) {
    const std::vector<Record> records = read_records(path, "the mask", communicator).records;
    const RecordIndex index(path, "mask", records);
    for (std::size_t i = 0; i < proteins.count(); ++i) {
        const Record& record = index.find(proteins.ids[i], proteins.file);
        check_length(record.text.size(), proteins.lengths[i], record_place(path, record), "letters", proteins.file);
        for (std::size_t r = 0; r < record.text.size(); ++r) {
            const char letter = record.text[r];
            if (letter != '0' && letter != '1')
                throw InputError(fmt::format("{}: '{}' at residue {}: a mask has 1 where labels count, else 0",
                                             record_place(path, record), letter, r + 1));
            if (letter == '1') continue;
            for (std::size_t k = 0; k < proteins.kinds.size(); ++k)
                if (proteins.kinds[k].name != "disorder") proteins.labels[k][proteins.rows[i] + r] = -1;
        }
    }
}

LabelledProteins read_localization(const std::string& path, const Communicator& communicator) {
    LabelledProteins proteins;
    proteins.task = Task::localization;
    proteins.file = path;
    const std::span<const LabelKind> kinds = label_kinds(Task::localization);
    proteins.kinds.assign(kinds.begin(), kinds.end());
    proteins.sources.assign(kinds.size(), {path, "", {}});
    proteins.labels.resize(kinds.size());
    proteins.rows = {0};
    const std::vector<Record> records = read_records(path, "the label file", communicator).records;
    const RecordIndex unique(path, "label", records);
    ToldSplits told;
    bool fields = false;
    for (const Record& record : records) {
        const LocatedProtein protein = read_location(path, record);
        proteins.ids.push_back(record.id);
        told.splits.push_back(protein.split);
        told.places.push_back(record_place(path, record));
        fields = fields || read_split(path, record).has_value();
        proteins.lengths.push_back(record.text.size() - (record.text.ends_with('*') ? 1 : 0));
        proteins.rows.push_back(proteins.rows.back() + 1);
        proteins.labels[0].push_back(protein.location);
        proteins.labels[1].push_back(protein.membrane);
    }
    set_splits(proteins, told, fields, communicator);
    return proteins;
}

}  // namespace

void hold_out_validation(LabelledProteins& proteins, double share, std::uint64_t seed) {
    const std::vector<std::uint32_t> train = proteins.members(Split::train);
    if (!proteins.members(Split::validation).empty() || train.size() < 2) return;
    const auto count = std::clamp(static_cast<std::size_t>(share * static_cast<double>(train.size())), std::size_t{1},
                                  train.size() - 1);
    for (std::size_t i = 0; i < count; ++i)
        proteins.splits[train[permute(i, train.size(), seed, Purpose::head, ~0U, 0)]] = Split::validation;
}

std::vector<std::uint32_t> LabelledProteins::members(Split split) const {
    std::vector<std::uint32_t> numbers;
    for (std::size_t i = 0; i < count(); ++i)
        if (splits[i] == split) numbers.push_back(static_cast<std::uint32_t>(i));
    return numbers;
}

LabelledProteins read_labels(Task task, const LabelFiles& files, double validation_share, std::uint64_t seed,
                             const Communicator& communicator) {
    LabelledProteins proteins = task == Task::secondary_structure ? read_structure(files, communicator)
                                                                  : read_localization(files.localization, communicator);
    if (task == Task::secondary_structure && !files.mask.empty()) apply_mask(proteins, files.mask, communicator);
    hold_out_validation(proteins, validation_share, seed);
    return proteins;
}

LabelledProteins labels_of_kinds(const LabelledProteins& proteins, const std::vector<LabelKind>& kinds) {
    LabelledProteins chosen = proteins;
    chosen.kinds = kinds;
    chosen.sources.assign(kinds.size(), {});
    chosen.labels.assign(kinds.size(), std::vector<std::int8_t>(proteins.rows.back(), -1));
    bool any = false;
    for (std::size_t k = 0; k < kinds.size(); ++k)
        for (std::size_t from = 0; from < proteins.kinds.size(); ++from)
            if (proteins.kinds[from].name == kinds[k].name) {
                chosen.labels[k] = proteins.labels[from];
                chosen.sources[k] = proteins.sources[from];
                any = true;
            }
    if (!any) throw InputError(fmt::format("the head predicts nothing that {} has labels of", proteins.file));
    return chosen;
}

Residues read_residues(const std::string& path, const LabelledProteins& proteins, const Communicator& communicator) {
    // The letters that count as residues are those of every reader; their numbers are one-hot columns here.
    const Vocabulary vocabulary = default_vocabulary();
    const std::string_view letters(residue_letters);
    std::array<int, 256> columns{};
    for (std::size_t byte = 0; byte < columns.size(); ++byte) {
        const int id = vocabulary.residue_ids[byte];
        columns[byte] = id < 0 ? -1 : static_cast<int>(letters.find(vocabulary.pieces[static_cast<std::size_t>(id)]));
    }
    const std::vector<Record> records = read_records(path, "the file of proteins", communicator).records;
    const RecordIndex index(path, "sequence", records);
    Residues residues{{}, {0}};
    for (std::size_t i = 0; i < proteins.count(); ++i) {
        const Record& record = index.find(proteins.ids[i], proteins.file);
        std::string_view text = record.text;
        if (text.ends_with('*')) text.remove_suffix(1);
        if (proteins.lengths[i] != 0 || proteins.task == Task::secondary_structure)
            check_length(text.size(), proteins.lengths[i], record_place(path, record), "residues", proteins.file);
        for (std::size_t r = 0; r < text.size(); ++r) {
            const int column = columns[static_cast<unsigned char>(text[r])];
            if (column < 0)
                throw InputError(
                    fmt::format("{}: '{}' at {} is no residue; write X where it is not known which one is there",
                                record_place(path, record), text[r], r + 1));
            residues.ids.push_back(static_cast<std::uint8_t>(column));
        }
        residues.firsts.push_back(residues.ids.size());
    }
    return residues;
}

void take_lengths(LabelledProteins& proteins, const Residues& residues) {
    for (std::size_t i = 0; i < proteins.count(); ++i)
        proteins.lengths[i] = residues.firsts[i + 1] - residues.firsts[i];
}

std::int64_t row_count(const LabelledProteins& proteins, const std::vector<std::uint32_t>& numbers) {
    std::uint64_t rows = 0;
    for (const std::uint32_t number : numbers) rows += proteins.rows[number + 1] - proteins.rows[number];
    return static_cast<std::int64_t>(rows);
}

std::uint64_t labelled_rows(const LabelledProteins& proteins, std::size_t k,
                            const std::vector<std::uint32_t>& numbers) {
    std::uint64_t count = 0;
    for (const std::uint32_t number : numbers)
        for (std::uint64_t row = proteins.rows[number]; row < proteins.rows[number + 1]; ++row)
            count += proteins.labels[k][row] >= 0;
    return count;
}

}  // namespace protalbert
