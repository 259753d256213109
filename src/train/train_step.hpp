#pragma once
// One training step: gradients of all micro-batches, their sum over ranks, clipping and the optimiser's update.

#include <cstdint>
#include <optional>

#include "comm/communicator.hpp"
#include "comm/gradient_reduction.hpp"
#include "data/batch_loader.hpp"
#include "model/model.hpp"
#include "train/exact_sums.hpp"
#include "train/losses.hpp"
#include "train/train_settings.hpp"

namespace protalbert {

/// What training changes: the same on every rank.
struct TrainState {
    Model model;
    DeviceMemory gradients;  ///< float32 [layout.size]
    DeviceMemory m;          ///< float32 [layout.size]: first moments
    DeviceMemory v;          ///< float32 [layout.size]: second moments
    std::vector<Variable> variables;
    std::uint64_t step = 0;     ///< steps done
    std::uint64_t samples = 0;  ///< sequences consumed
};
/// Allocates everything, filled with zeros.
TrainState make_train_state(const ModelConfig& config, Backend& backend);

/// The most that a micro-batch can hold.
struct MicroBatchLimits {
    std::int64_t tokens;
    std::int64_t sequences;
    std::int64_t masked;
};
/// For training and, where there is one, for validation.
MicroBatchLimits micro_batch_limits(const TrainSettings& settings);

/// What a step leaves on the device for the host.
struct StepResults {
    LossSums masked, sentence;
    double squared_norm;  ///< of the gradients, summed over ranks
};

/// What a step needs beside the state, made once.
struct StepWorkspace {
    TrainingWorkspacePointer activations;
    DeviceBatch batch;
    DeviceMemory results;     ///< StepResults [1]
    HostMemory host_results;  ///< StepResults [1]
    GradientReduction reduction;
    double reduction_wait = 0;       ///< seconds that the host spent waiting for other ranks' gradients so far
    std::optional<ExactSums> exact;  ///< for reproducible runs

    StepLosses step_losses() const {
        return {&results.as<StepResults>()->masked, &results.as<StepResults>()->sentence};
    }
    double* squared_norm() const { return &results.as<StepResults>()->squared_norm; }
};
StepWorkspace make_step_workspace(const Model& model, const MicroBatchLimits& limits, bool reproducible,
                                  const Communicator& communicator);

/// What the ranks tell each other once a step.
struct StepSums {
    LossTotals losses;
    double flops = 0;       ///< the model's
    double not_finite = 0;  ///< ranks whose gradient norm is not finite
    double signals = 0;     ///< ranks that caught a signal
    double time_is_up = 0;  ///< ranks whose time limit has come
    double save_asked = 0;  ///< someone asks for a checkpoint: rank 0 alone looks
};
void sum_over_ranks(StepSums& sums, const Communicator& communicator);

/// Gradients of the mean losses over the whole global batch, summed over ranks, in state.gradients. Collective: every
/// rank starts the same sums in the same order, each as soon as its range is final in the last micro-batch.
/// The host enqueues all of it, the gradients' norm included, and waits once, at the end (a reproducible run also after
/// each micro-batch, whose losses it rounds). With a workspace for reproducible runs, a batch of one gives the same
/// bits whatever the number of ranks.
struct StepOutcome {
    LossTotals losses;         ///< this rank's
    double gradient_norm = 0;  ///< global, the same on every rank; its square stays on the device for the update
};
StepOutcome compute_gradients(TrainState& state, const StepBatch& batch, StepWorkspace& workspace);

/// Clips by the norm found before and moves the parameters; destroys the gradients. Returns when it is enqueued.
void update_parameters(TrainState& state, const StepWorkspace& workspace, const TrainSettings& settings,
                       double learning_rate);

/// Adds `more` field by field.
void add_losses(LossTotals& losses, const LossTotals& more);
/// Zeros in the losses, on the device.
void clear_losses(const StepWorkspace& workspace, Backend& backend);
/// Waits for the device and reads its sums of losses.
LossTotals download_losses(const StepWorkspace& workspace, Backend& backend);

}  // namespace protalbert
