#include "train/train_step.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>

#include "base/timeline.hpp"

namespace protalbert {

namespace {

constexpr Stream stream = {};
/// In the timeline: what of the reduction no computation hides.
constexpr const char* wait_name = "wait for other ranks' gradients";

std::size_t float_bytes(const ParameterLayout& layout) { return static_cast<std::size_t>(layout.size) * sizeof(float); }

}  // namespace

TrainState make_train_state(const ModelConfig& config, Backend& backend) {
    TrainState state;
    state.model = make_model(config, backend);
    const std::size_t bytes = float_bytes(state.model.layout);
    state.gradients = DeviceMemory(backend, bytes);
    state.m = DeviceMemory(backend, bytes);
    state.v = DeviceMemory(backend, bytes);
    state.variables = state.model.layout.variables();
    return state;
}

MicroBatchLimits micro_batch_limits(const TrainSettings& settings) {
    MicroBatchLimits limits{};
    limits.tokens =
        std::max(settings.batch_tokens, settings.sample.max_length);  // a single sample may exceed the budget
    const std::int64_t largest_batch =
        std::max(settings.global_batch, settings.validation.empty() ? 0 : settings.validation_sequences);
    // The shortest sample is one residue between [CLS] and [SEP].
    limits.sequences = std::min(largest_batch, limits.tokens / 3);
    // A fraction of each sample's tokens, rounded, at least one.
    limits.masked =
        static_cast<std::int64_t>(std::ceil(settings.sample.masked_fraction * static_cast<double>(limits.tokens))) +
        limits.sequences;
    return limits;
}

StepWorkspace make_step_workspace(const Model& model, const MicroBatchLimits& limits, bool reproducible,
                                  const Communicator& communicator) {
    Backend& backend = *model.backend;
    DeviceBatch batch;
    reserve_batch(batch, limits.tokens, limits.sequences, limits.masked, backend);
    const std::size_t reduced_bytes =
        static_cast<std::size_t>(model.layout.size) * (reproducible ? sizeof(std::int64_t) : sizeof(float));
    return {.activations = make_training_workspace(model, limits.tokens, limits.sequences, limits.masked),
            .batch = std::move(batch),
            .results = DeviceMemory(backend, sizeof(StepResults)),
            .host_results = HostMemory(backend, sizeof(StepResults)),
            .reduction = GradientReduction(communicator, backend, reduced_bytes),
            .exact = reproducible ? std::optional(make_exact_sums(model)) : std::nullopt};
}

void sum_over_ranks(StepSums& sums, const Communicator& communicator) {
    std::array<double*, 9> fields = {&sums.losses.masked_loss,
                                     &sums.losses.masked_correct,
                                     &sums.losses.sentence_loss,
                                     &sums.losses.sentence_correct,
                                     &sums.flops,
                                     &sums.not_finite,
                                     &sums.signals,
                                     &sums.time_is_up,
                                     &sums.save_asked};
    std::array<double, fields.size()> values{};
    std::transform(fields.begin(), fields.end(), values.begin(), [](const double* field) { return *field; });
    communicator.sum(values.data(), static_cast<int>(values.size()));
    for (std::size_t i = 0; i < fields.size(); ++i) *fields[i] = values[i];
}

namespace {

const StepResults& download_results(const StepWorkspace& workspace, Backend& backend) {
    backend.download(workspace.host_results.data(), workspace.results.data(), sizeof(StepResults), stream);
    backend.synchronize(stream);
    return *workspace.host_results.as<StepResults>();
}

LossTotals totals_of(const StepResults& results) {
    return {.masked_loss = results.masked.loss,
            .masked_correct = static_cast<double>(results.masked.correct),
            .sentence_loss = results.sentence.loss,
            .sentence_correct = static_cast<double>(results.sentence.correct)};
}

}  // namespace

void clear_losses(const StepWorkspace& workspace, Backend& backend) {
    backend.set_zero(workspace.results.data(), offsetof(StepResults, squared_norm), stream);
}

LossTotals download_losses(const StepWorkspace& workspace, Backend& backend) {
    return totals_of(download_results(workspace, backend));
}

void add_losses(LossTotals& losses, const LossTotals& more) {
    losses.masked_loss += more.masked_loss;
    losses.masked_correct += more.masked_correct;
    losses.sentence_loss += more.sentence_loss;
    losses.sentence_correct += more.sentence_correct;
}

namespace {

/// Factors of a sample's loss. From counts of the whole step, known before the backward pass: the gradients are final
/// without another division.
struct LossScales {
    double masked, sentence;
};
LossScales loss_scales(const StepBatch& batch) {
    return {1.0 / static_cast<double>(std::max<std::int64_t>(1, batch.global_masked)),
            batch.global_sentences > 0 ? 1.0 / static_cast<double>(batch.global_sentences) : 0.0};
}

void run_micro_batch(TrainState& state, const PackedBatch& packed, const LossScales& scales, const GradientReady& ready,
                     StepWorkspace& workspace) {
    upload_batch(workspace.batch, packed, *state.model.backend, stream);
    forward_backward(state.model, workspace.batch, *workspace.activations, state.gradients.as<float>(),
                     workspace.step_losses(), scales.masked, scales.sentence, ready, stream);
}

/// Lets a step's compute lane consist of spans from one mark to the next, while a timeline is recorded.
class ComputeSpans {
  public:
    explicit ComputeSpans(const ParameterLayout& layout) : layout_(layout) {}
    /// What was computed since the mark before.
    void mark(const std::string& name) {
        if (!timeline::is_on()) return;
        timeline::record(Lane::compute, name, since_);
        since_ = timeline::Clock::now();
    }
    /// The first parameter in a range of the gradient; empty when nothing is recorded.
    std::string name_of(std::int64_t offset, std::int64_t size) const {
        if (!timeline::is_on()) return {};
        const auto inside = [&](const Parameter& p) { return p.offset >= offset && p.offset < offset + size; };
        const auto& all = layout_.parameters;
        const auto first = std::find_if(all.begin(), all.end(), inside);
        const auto more = std::count_if(all.begin(), all.end(), inside) - 1;
        return (first == all.end() ? "padding" : first->name) + (more > 0 ? " +" + std::to_string(more) : "");
    }

  private:
    const ParameterLayout& layout_;
    timeline::Clock::time_point since_ = timeline::Clock::now();
};

/// One attempt at compute_exact_gradients: the sums over ranks stay in workspace.exact.
LossTotals sum_exactly(TrainState& state, const StepBatch& batch, int bits, StepWorkspace& workspace) {
    Backend& backend = *state.model.backend;
    ExactSums& exact = *workspace.exact;
    float* const gradients = state.gradients.as<float>();
    backend.set_zero(gradients, float_bytes(state.model.layout), stream);
    start_sums(exact, bits, backend, stream);
    ComputeSpans spans(state.model.layout);
    const GradientReady reduce = [&](std::int64_t offset, std::int64_t size) {
        add_gradients(exact, gradients, offset, size, backend, stream);
        const std::string name = spans.name_of(offset, size);
        spans.mark(name);
        workspace.reduction.start(exact.gradients.as<std::int64_t>() + offset, size, stream, name);
        workspace.reduction.progress();
    };
    const LossScales scales = loss_scales(batch);
    LossTotals losses;
    for (const PackedBatch& packed : batch.micro_batches) {
        const bool last = &packed == &batch.micro_batches.back();
        clear_losses(workspace, backend);
        run_micro_batch(state, packed, scales, last ? reduce : GradientReady{}, workspace);
        if (!last) add_gradients(exact, gradients, 0, state.model.layout.size, backend, stream);
        add_losses(losses, round_for_sums(download_losses(workspace, backend)));
        spans.mark(last ? "losses" : "micro-batch");
    }
    if (batch.micro_batches.empty()) announce_gradients(state.model, reduce);
    workspace.reduction_wait += workspace.reduction.finish(stream);
    spans.mark(wait_name);
    return losses;
}

LossTotals compute_exact_gradients(TrainState& state, const StepBatch& batch, StepWorkspace& workspace) {
    Backend& backend = *state.model.backend;
    ExactSums& exact = *workspace.exact;
    float* const gradients = state.gradients.as<float>();
    LossTotals losses = sum_exactly(state, batch, usual_bits, workspace);
    const auto largest = [&] {
        float largest_here = 0;
        backend.download(&largest_here, exact.largest.data(), sizeof largest_here, stream);
        backend.synchronize(stream);
        return workspace.reduction.maximum(largest_here);
    };
    const double magnitude = largest();
    if (std::isfinite(magnitude)) {
        const int bits = bits_for(magnitude, batch.global_micro_batches);
        if (bits < exact.bits) losses = sum_exactly(state, batch, bits, workspace);
    }
    backend.from_fixed_point(gradients, exact.gradients.as<std::int64_t>(), exact.bits, state.model.layout.size,
                             stream);
    if (!std::isfinite(magnitude)) {
        // A number that is none has no place in the sums: it comes back here, for the step to be skipped.
        constexpr float none = std::numeric_limits<float>::quiet_NaN();
        backend.upload(gradients + state.model.layout.parameters.front().offset, &none, sizeof none, stream);
        backend.synchronize(stream);
    }
    return losses;
}

void sum_gradients(TrainState& state, const StepBatch& batch, StepWorkspace& workspace) {
    Backend& backend = *state.model.backend;
    float* const gradients = state.gradients.as<float>();
    backend.set_zero(gradients, float_bytes(state.model.layout), stream);
    clear_losses(workspace, backend);
    ComputeSpans spans(state.model.layout);
    const GradientReady reduce = [&](std::int64_t offset, std::int64_t size) {
        const std::string name = spans.name_of(offset, size);
        spans.mark(name);
        workspace.reduction.start(gradients + offset, size, stream, name);
        workspace.reduction.progress();
    };
    const LossScales scales = loss_scales(batch);
    for (const PackedBatch& packed : batch.micro_batches) {
        const bool last = &packed == &batch.micro_batches.back();
        run_micro_batch(state, packed, scales, last ? reduce : GradientReady{}, workspace);
        if (!last) spans.mark("micro-batch");
    }
    if (batch.micro_batches.empty()) announce_gradients(state.model, reduce);
    workspace.reduction_wait += workspace.reduction.finish(stream);
    spans.mark(wait_name);
}

}  // namespace

StepOutcome compute_gradients(TrainState& state, const StepBatch& batch, StepWorkspace& workspace) {
    Backend& backend = *state.model.backend;
    LossTotals exact_losses;
    if (workspace.exact) {
        exact_losses = compute_exact_gradients(state, batch, workspace);
    } else {
        sum_gradients(state, batch, workspace);
    }
    const Span span(Lane::compute, "gradient norm");
    backend.sum_of_squares(workspace.squared_norm(), state.gradients.as<float>(), state.model.layout.size, stream);
    const StepResults& results = download_results(workspace, backend);
    return {.losses = workspace.exact ? exact_losses : totals_of(results),
            .gradient_norm = std::sqrt(results.squared_norm)};
}

void update_parameters(TrainState& state, const StepWorkspace& workspace, const TrainSettings& settings,
                       double learning_rate) {
    const Span span(Lane::compute, "update");
    OptimizerStep step;  // both moments' decay rates and epsilon are the official ones
    step.learning_rate = learning_rate;
    step.weight_decay = settings.weight_decay;
    step.clip = settings.clip;
    step.squared_norm = workspace.squared_norm();
    Model& model = state.model;
    const auto update = settings.optimizer == OptimizerKind::lamb ? &Backend::lamb : &Backend::adamw;
    (model.backend->*update)(model.parameters.as<float>(), model.copies.data(), state.m.as<float>(),
                             state.v.as<float>(), state.gradients.as<float>(), state.variables, step, stream);
}

}  // namespace protalbert
