#include "probe/label_checks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "base/error.hpp"
#include "base/log.hpp"

namespace protalbert {
namespace {

/// Classes of kind k without a label in a set, as its files and people call them.
std::vector<std::string> missing_classes(const LabelledProteins& proteins, std::size_t k, Split set) {
    const LabelKind& kind = proteins.kinds[k];
    std::vector<bool> there(kind.classes.size(), false);
    for (const std::uint32_t number : proteins.members(set))
        for (std::uint64_t row = proteins.rows[number]; row < proteins.rows[number + 1]; ++row)
            if (proteins.labels[k][row] >= 0) there[static_cast<std::size_t>(proteins.labels[k][row])] = true;
    std::vector<std::string> missing;
    for (std::size_t c = 0; c < there.size(); ++c)
        if (!there[c])
            missing.push_back(kind.letters.empty() ? kind.classes[c]
                                                   : fmt::format("{} ({})", kind.letters[c], kind.classes[c]));
    return missing;
}

/// What '-' or '.' in a label file means, and how it becomes coil.
std::string advice(const LabelSource& source, const LabelKind& kind, bool coil_missing) {
    if (source.unlabelled.empty()) return "";
    const bool both = source.unlabelled.size() > 1;
    std::string text =
        both ? "; \"-\" and \".\" mean no label here" : fmt::format("; \"{}\" means no label here", source.unlabelled);
    // Coil is C of both kinds of structure; disorder has no such class.
    if (!coil_missing || kind.letters.find('C') == std::string::npos) return text;
    const char* const letters = both ? "[-.]" : source.unlabelled == "." ? "[.]" : "-";
    return text + fmt::format(": if {}: {}, for FILE {}",
                              both ? "they stand for coil, replace them" : "it stands for coil, replace it",
                              sed_command({fmt::format("/^[>;#]/!s/{}/C/g", letters)}, source.form), source.file);
}

}  // namespace

LabelledProteins with_training_labels(const LabelledProteins& proteins, const Communicator& communicator) {
    const std::vector<std::uint32_t> train = proteins.members(Split::train);
    std::vector<LabelKind> kept;
    for (std::size_t k = 0; k < proteins.kinds.size(); ++k) {
        if (labelled_rows(proteins, k, train) > 0) {
            kept.push_back(proteins.kinds[k]);
        } else if (communicator.root()) {
            log_warning(fmt::format("{}: {} has no label to train on{}; the head will not predict it",
                                    proteins.kinds[k].name, proteins.sources[k].file,
                                    advice(proteins.sources[k], proteins.kinds[k], false)));
        }
    }
    if (kept.empty())
        throw InputError(
            fmt::format("{} has no labels to train on: no protein is for training (SET=train), all labels are "
                        "missing or masked, or those proteins have no vectors",
                        proteins.file));
    return kept.size() == proteins.kinds.size() ? proteins : labels_of_kinds(proteins, kept);
}

void warn_of_missing_classes(const LabelledProteins& proteins, const std::vector<Split>& sets,
                             const Communicator& communicator) {
    if (!communicator.root()) return;
    const bool residues = proteins.task == Task::secondary_structure;
    for (std::size_t k = 0; k < proteins.kinds.size(); ++k) {
        const LabelKind& kind = proteins.kinds[k];
        std::vector<std::string> said;
        std::vector<std::vector<std::string>> missing;  // of each set that has labels
        bool grave = residues;
        for (const Split set : sets) {
            if (labelled_rows(proteins, k, proteins.members(set)) == 0) continue;
            const std::vector<std::string>& names = missing.emplace_back(missing_classes(proteins, k, set));
            if (names.empty()) continue;
            said.push_back(fmt::format("no {} of the {} set is labelled {}", residues ? "residue" : "protein",
                                       split_name(set), fmt::join(names, ", ")));
            grave = grave || set == Split::train;
        }
        if (said.empty()) continue;
        if (missing.size() > 1 && missing.front() == missing.back())
            said = {fmt::format("no {} is labelled {}", residues ? "residue" : "protein",
                                fmt::join(missing.front(), ", "))};
        const bool coil_missing = std::any_of(missing.begin(), missing.end(), [](const auto& names) {
            return std::any_of(names.begin(), names.end(),
                               [](const std::string& name) { return name.starts_with("C ("); });
        });
        const std::string line = fmt::format("{}: {}{}", kind.name, fmt::join(said, "; "),
                                             coil_missing ? advice(proteins.sources[k], kind, true) : "");
        if (grave)
            log_warning(line);
        else
            log_information(line);
    }
}

}  // namespace protalbert
