// Files of labels. First byte: even for secondary structure (files of three states, eight states, disorder, mask,
// residues), odd for localization (labels, residues). An empty file stands for one that is not given.

#include "fuzzing.hpp"
#include "probe/labels.hpp"

using namespace protalbert;
using namespace fuzzing;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static MemoryFile files[5];
    std::string_view bytes = text(data, size);
    const Task task = take_byte(bytes) % 2 == 0 ? Task::secondary_structure : Task::localization;
    const std::vector<std::string_view> parts = split_files(bytes, task == Task::secondary_structure ? 5 : 2);
    std::vector<std::string> paths(5);
    for (std::size_t i = 0; i < parts.size(); ++i)
        if (!parts[i].empty()) paths[i] = files[i].set(parts[i]);
    LabelFiles names;
    std::string residues = paths[4];
    if (task == Task::secondary_structure) {
        names.three_state = paths[0];
        names.eight_state = paths[1];
        names.disorder = paths[2];
        names.mask = paths[3];
    } else {
        names.localization = files[0].set(parts[0]);
        residues = paths[1];
    }
    refusal([&] {
        const LabelledProteins proteins = read_labels(task, names, 0.1, 1, alone());
        require(proteins.splits.size() == proteins.count() && proteins.lengths.size() == proteins.count() &&
                    proteins.rows.size() == proteins.count() + 1 && proteins.labels.size() == proteins.kinds.size(),
                "as many of each as there are proteins");
        for (std::size_t k = 0; k < proteins.kinds.size(); ++k) {
            require(proteins.labels[k].size() == proteins.rows.back(), "a label a row");
            for (const std::int8_t label : proteins.labels[k])
                require(label >= -1 && label < static_cast<int>(proteins.kinds[k].classes.size()),
                        "labels are classes");
        }
        if (residues.empty()) return;
        const Residues read = read_residues(residues, proteins, alone());
        require(read.firsts.size() == proteins.count() + 1 && read.firsts.back() == read.ids.size(), "residues fit");
        for (const std::uint8_t id : read.ids) require(id < residue_kinds, "residues are known");
    });
    return 0;
}
