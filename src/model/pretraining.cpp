// Forward and backward pass of a micro-batch with both losses.

#include "base/error.hpp"
#include "model/encoder_training.hpp"
#include "model/heads.hpp"
#include "model/operands.hpp"

namespace protalbert {

namespace {

void check_fit(const Model& model, const DeviceBatch& batch, const TrainingWorkspace& workspace) {
    check_batch(model, batch);
    PROTALBERT_CHECK(batch.sequences.tokens <= workspace.tokens, "the workspace was made for fewer tokens");
    PROTALBERT_CHECK(batch.sequences.count <= workspace.sequences, "the workspace was made for fewer sequences");
    PROTALBERT_CHECK(batch.masked <= workspace.masked, "the workspace was made for fewer masked positions");
}

}  // namespace

void forward_backward(const Model& model, const DeviceBatch& batch, TrainingWorkspace& workspace, float* gradients,
                      StepLosses losses, double masked_scale, double sentence_scale, const GradientReady& ready,
                      Stream stream) {
    check_fit(model, batch, workspace);
    if (batch.sequences.tokens == 0) {
        announce_gradients(model, ready);
        return;
    }
    std::size_t announced = 0;
    const auto announce = [&] {
        const GradientRange range = workspace.order[announced++];
        if (ready) ready(range.offset, range.size);
    };
    forward_encoder(model, batch, workspace, stream);
    Backend& backend = *model.backend;
    backend.set_zero(workspace.d_hidden.data,
                     static_cast<std::size_t>(batch.sequences.tokens * model.config.hidden * backend.element_bytes()),
                     stream);
    masked_head(model, batch, workspace, losses.masked, gradients, masked_scale, stream);
    if (sentence_scale != 0) {
        sentence_head(model, batch, workspace, losses.sentence, gradients, sentence_scale, stream);
    }
    announce();  // heads
    backward_encoder_data(model, batch, workspace, gradients, stream);
    backward_embeddings(model, batch, workspace, gradients, stream);
    announce();  // embeddings
    backward_encoder_weights(model, batch, workspace, gradients, announce, stream);
    PROTALBERT_CHECK(announced == workspace.order.size(), "every range of the gradient is announced once");
}

void announce_gradients(const Model& model, const GradientReady& ready) {
    if (!ready) return;
    for (const GradientRange& range : gradient_order(model.layout)) ready(range.offset, range.size);
}

void evaluate(const Model& model, const DeviceBatch& batch, TrainingWorkspace& workspace, StepLosses losses,
              Stream stream) {
    check_fit(model, batch, workspace);
    if (batch.sequences.tokens == 0) return;
    forward_encoder(model, batch, workspace, stream);
    masked_head(model, batch, workspace, losses.masked, nullptr, 0, stream);
    if (losses.sentence != nullptr) sentence_head(model, batch, workspace, losses.sentence, nullptr, 0, stream);
}

}  // namespace protalbert
