#pragma once
// What can be predicted: the kinds of labels of each task, with their classes in the order of a head's outputs.
// Sources of names and order: sacdallago/bio_embeddings annotation_inference_models.py.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace protalbert {

/// secondary_structure: labels of residues.  localization: labels of proteins.
enum class Task { secondary_structure, localization };

/// Labels of one kind: one output of a head.
struct LabelKind {
    std::string name;                  ///< in options, files and reports: "three_state"
    std::string title;                 ///< for people
    std::string score;                 ///< what the field calls its accuracy
    std::vector<std::string> classes;  ///< [C]
    std::string letters;               ///< [C] one a class, as in label files of residues

    std::int64_t count() const { return static_cast<std::int64_t>(classes.size()); }
};

/// The kinds of a task, in a fixed order. secondary_structure: three_state, eight_state, disorder; localization:
/// location, membrane.
std::span<const LabelKind> label_kinds(Task task);
/// Throws InputError for a name that the task does not have.
const LabelKind& label_kind(Task task, const std::string& name);

const char* task_name(Task task);
/// Throws InputError for an unknown one.
Task task_from_name(const std::string& name);

}  // namespace protalbert
