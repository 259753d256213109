#pragma once
// Names of the datasets of the per-protein layout.

#include <string>
#include <vector>

namespace protalbert {

/// Names of the datasets, in input order. An id is its protein's name where HDF5 takes it and
/// no protein before has it. In others '/' becomes '_', "." "_", and an empty one "protein_NUMBER"; a name that is
/// taken gets the suffix "_2", "_3" ..., and a name that is some protein's id counts as taken.
std::vector<std::string> dataset_names(const std::vector<std::string>& ids);

/// Warns of the proteins whose datasets are not called by their ids.
void report_changed_names(const std::vector<std::string>& ids, const std::vector<std::string>& names);

}  // namespace protalbert
