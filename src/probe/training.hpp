#pragma once
// Training of a head: Adam, batches of proteins shared out to the ranks, early stopping on the validation proteins.

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "probe/features.hpp"
#include "probe/head.hpp"
#include "probe/labels.hpp"

namespace protalbert {

struct ProbeSettings {
    double learning_rate = 1e-3;  ///< Adam's default
    std::int64_t epochs = 0;      ///< at most
    std::int64_t patience = 0;    ///< epochs without a better validation loss, after which training ends
    std::int64_t batch = 32;      ///< proteins a step, over all ranks
    std::uint64_t seed = 12345;
};

struct TrainedHead {
    std::vector<float> values;  ///< [layout.size] of the epoch with the lowest validation loss
    std::int64_t epochs = 0;    ///< run
    std::int64_t best_epoch = 0;
    double validation_loss = 0;
};

/// Trains on the training proteins; without validation proteins for all epochs. The order of proteins, the initial
/// values and dropout are functions of the seed alone: any number of ranks computes the same to rounding. `name` leads
/// the log's lines. Collective. Throws InputError without training labels, Error when the loss is not finite.
TrainedHead train_head(const std::string& name, const HeadConfig& config, const Features& features,
                       const LabelledProteins& proteins, const ProbeSettings& settings, Backend& backend,
                       const Communicator& communicator);

/// Adam's step number `step` >= 1 as PyTorch's Adam has it: with bias correction, without decay. The correction is in
/// the learning rate and epsilon, so that Backend::adamw does the rest:
/// lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) = lr c / (1 - b1^t) m / (sqrt(v) + c eps) with c = sqrt(1 - b2^t).
OptimizerStep adam_step(double learning_rate, std::int64_t step);

}  // namespace protalbert
