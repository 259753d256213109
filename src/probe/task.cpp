#include "probe/task.hpp"

#include <fmt/format.h>

#include "base/error.hpp"

namespace protalbert {

std::span<const LabelKind> label_kinds(Task task) {
    static const std::vector<LabelKind> secondary_structure{
        {"three_state", "three-state structure", "Q3", {"helix", "strand", "other"}, "HEC"},
        {"eight_state",
         "eight-state structure",
         "Q8",
         {"3-10 helix", "alpha helix", "pi helix", "bridge", "strand", "bend", "turn", "other"},
         "GHIBESTC"},
        {"disorder", "disorder", "Q2", {"ordered", "disordered"}, "01"}};
    static const std::vector<LabelKind> localization{
        {"location",
         "location",
         "Q10",
         {"Cell.membrane", "Cytoplasm", "Endoplasmic.reticulum", "Golgi.apparatus", "Lysosome/Vacuole", "Mitochondrion",
          "Nucleus", "Peroxisome", "Plastid", "Extracellular"},
         ""},
        {"membrane", "membrane-bound", "Q2", {"soluble", "membrane"}, ""}};
    return task == Task::secondary_structure ? secondary_structure : localization;
}

const LabelKind& label_kind(Task task, const std::string& name) {
    for (const LabelKind& kind : label_kinds(task))
        if (kind.name == name) return kind;
    throw InputError(fmt::format("task {} has no labels '{}'", task_name(task), name));
}

const char* task_name(Task task) { return task == Task::secondary_structure ? "secondary_structure" : "localization"; }

Task task_from_name(const std::string& name) {
    for (const Task task : {Task::secondary_structure, Task::localization})
        if (name == task_name(task)) return task;
    throw InputError(fmt::format("unknown task '{}': choose secondary_structure or localization", name));
}

}  // namespace protalbert
