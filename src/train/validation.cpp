#include "train/validation.hpp"

#include <algorithm>

namespace protalbert {

Validation prepare_validation(const Corpus& corpus, const TrainSettings& settings, const SampleCost& cost,
                              const Communicator& communicator) {
    // As many sequences at a time as make shares of ranks even; more would only take memory while they are read.
    constexpr std::int64_t sequences_at_a_time = 4096;
    LoaderSettings loader = loader_settings(settings);
    loader.global_batch = std::min(settings.validation_sequences, sequences_at_a_time);
    Validation validation;
    validation.batches = BatchLoader::validation_batches(
        corpus, static_cast<std::uint64_t>(settings.validation_sequences), loader, cost, communicator);
    for (const StepBatch& batch : validation.batches) {
        validation.masked += batch.global_masked;
        validation.sentences += batch.global_sentences;
    }
    return validation;
}

Losses validate(const Validation& validation, const Model& model, StepWorkspace& workspace,
                const Communicator& communicator) {
    Backend& backend = *model.backend;
    StepSums sums;
    clear_losses(workspace, backend);
    for (const StepBatch& batch : validation.batches) {
        for (const PackedBatch& packed : batch.micro_batches) {
            upload_batch(workspace.batch, packed, backend, {});
            evaluate(model, workspace.batch, *workspace.activations, workspace.step_losses(), {});
            if (!workspace.exact) continue;
            add_losses(sums.losses, round_for_sums(download_losses(workspace, backend)));
            clear_losses(workspace, backend);
        }
    }
    if (!workspace.exact) sums.losses = download_losses(workspace, backend);
    sum_over_ranks(sums, communicator);
    return mean_losses(sums.losses, validation.masked, validation.sentences);
}

}  // namespace protalbert
