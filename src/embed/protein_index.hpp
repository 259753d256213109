#pragma once
// What a file of results says of its proteins: whose row is which.

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "embed/proteins.hpp"
#include "io/hdf5.hpp"

namespace protalbert {

/// Calls work(run) with each of this rank's runs, and with empty ones until all ranks have had their last: for calls
/// that are collective. Collective.
template <class Work>
void for_each_run(const std::vector<ProteinRun>& runs, const Communicator& communicator, const Work& work) {
    const auto rounds = static_cast<std::size_t>(communicator.maximum(static_cast<std::int64_t>(runs.size())));
    const ProteinRun nothing;
    for (std::size_t round = 0; round < rounds; ++round) work(round < runs.size() ? runs[round] : nothing);
}

/// Ids of the proteins of a run, [n].
std::vector<std::string> run_ids(const ProteinRun& run);

/// Creates and writes /ids [N], /lengths [N], /offsets [N + 1] (row of each protein's first residue) and /status [N]
/// (its Treatment). `runs` are this rank's, `lengths` [N] of all proteins, `longest_id` in bytes. Collective.
void write_protein_index(Hdf5File& file, const std::vector<ProteinRun>& runs, std::uint64_t proteins,
                         std::uint64_t longest_id, const std::vector<std::uint32_t>& lengths,
                         const Communicator& communicator);

}  // namespace protalbert
