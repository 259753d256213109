#pragma once
// A simple model of a training step: what each part takes on a machine of given rates.

#include <cstdint>
#include <string>
#include <vector>

#include "bench/length_model.hpp"
#include "model/model_config.hpp"
#include "train/train_settings.hpp"

namespace protalbert {

/// Measured: by protalbert_bench train (flops, memory), collectives (link, latency), io --checkpoint (disk, read).
struct MachineRates {
    /// Model FLOP/s of one rank in forward and backward passes, everything in them included. Taken as the same however
    /// few tokens a rank has: measure it with about as many.
    double flops = 6e14;
    double memory = 4e12;    ///< bytes/s of one rank's memory, for the optimizer
    double link = 45e9;      ///< bytes/s through each rank's link in a sum over all ranks (bus bandwidth)
    double latency = 30e-6;  ///< seconds of a sum of one number over all ranks
    double disk = 10e9;      ///< bytes/s at which all ranks together write and verify a checkpoint
    double read = 1e9;       ///< bytes/s at which one rank reads the corpus
};

/// Seconds of a step; their sum is the step.
struct StepPrediction {
    double compute = 0;     ///< FLOPs of the step / (ranks x flops)
    double imbalance = 0;   ///< compute x (largest share of time / mean share - 1)
    double reduction = 0;   ///< what of the gradient's sums no computation hides, and the sum of the losses
    double optimizer = 0;   ///< 44 bytes a parameter / memory: gradient norm reads 1 array of float32, LAMB moves 10
    double reading = 0;     ///< reading residues, as far as it takes longer than the step meanwhile
    double checkpoint = 0;  ///< 12 bytes a parameter / disk / checkpoint.every

    double tokens = 0, flops = 0;  ///< of the step, all ranks
    double micro_batches = 0;      ///< of a rank
    double imbalance_fraction = 0;

    double seconds() const { return compute + imbalance + reduction + optimizer + reading + checkpoint; }
    double efficiency() const { return compute / seconds(); }
};

/// Draws `steps` steps from the length model and shares them out as the loader does.
StepPrediction predict_step(const ModelConfig& config, const TrainSettings& settings, const LengthModel& lengths,
                            const MachineRates& rates, int ranks, int steps);

/// The model's formulas, a line each.
std::vector<std::string> formulas();

}  // namespace protalbert
