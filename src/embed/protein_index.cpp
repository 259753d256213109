#include "embed/protein_index.hpp"

namespace protalbert {

std::vector<std::string> run_ids(const ProteinRun& run) {
    std::vector<std::string> ids;
    std::size_t at = 0;
    for (const std::uint32_t length : run.id_lengths) {
        ids.push_back(run.ids.substr(at, length));
        at += length;
    }
    return ids;
}

void write_protein_index(Hdf5File& file, const std::vector<ProteinRun>& runs, std::uint64_t proteins,
                         std::uint64_t longest_id, const std::vector<std::uint32_t>& lengths,
                         const Communicator& communicator) {
    file.create_strings("/ids", proteins, longest_id);
    file.create_dataset("/lengths", Element::uint64, {proteins});
    file.create_dataset("/offsets", Element::uint64, {proteins + 1});
    file.create_dataset("/status", Element::uint8, {proteins});

    std::uint64_t row = 0, protein = 0;
    for_each_run(runs, communicator, [&](const ProteinRun& run) {
        const Rows rows{run.first, run.count()};
        for (; protein < run.first; ++protein) row += lengths[protein];
        const std::vector<std::uint64_t> wide(run.lengths.begin(), run.lengths.end());
        std::vector<std::uint64_t> ends;
        for (const std::uint64_t length : wide) ends.push_back((ends.empty() ? row : ends.back()) + length);
        file.write_strings("/ids", run_ids(run), run.first);
        file.write("/lengths", wide.data(), rows);
        file.write("/offsets", ends.data(), {run.first + 1, run.count()});
        file.write("/status", run.treatments.data(), rows);
    });
    const std::uint64_t zero = 0;
    file.write("/offsets", &zero, {0, communicator.root() ? std::uint64_t{1} : 0});
}

}  // namespace protalbert
