#pragma once
// --dump-step: everything needed to replay one step elsewhere, in one HDF5 file (DESIGN.md lists its datasets).

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "data/batch_loader.hpp"
#include "train/losses.hpp"
#include "train/train_step.hpp"

namespace protalbert {

struct DumpRequest {
    std::int64_t step = -1;  ///< counted from 0; -1: none
    std::string file;
};

/// A step's arrays on the host, each [layout.size]; on rank 0 alone, empty elsewhere.
struct StepRecord {
    std::vector<float> parameters_before;
    std::vector<float> m_before;
    std::vector<float> v_before;
    std::vector<float> gradients;  ///< after reduction, before clipping
    std::vector<float> parameters_after;
};

struct StepScalars {
    std::uint64_t step = 0;
    Losses losses;
    double learning_rate = 0;
    double gradient_norm = 0;  ///< before clipping
    bool sentence_task = false;
};

/// Writes the file: the packed batch of all ranks in the order of the global batch, and rank 0's arrays. Collective.
void write_dump(const std::string& file, const StepBatch& batch, const StepRecord& record, const StepScalars& scalars,
                const Model& model, const Communicator& communicator);

}  // namespace protalbert
