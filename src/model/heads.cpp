#include "model/heads.hpp"

namespace protalbert {

void masked_head(const Model& model, const DeviceBatch& batch, TrainingWorkspace& w, LossSums* sums, float* gradients,
                 double scale, Stream stream) {
    if (batch.masked == 0) return;
    Backend& backend = *model.backend;
    const ModelConfig& config = model.config;
    const ParameterLayout& at = model.layout;
    const std::int64_t M = batch.masked;
    const std::int64_t H = config.hidden;
    const std::int64_t E = config.embedding;
    const std::int64_t V = config.vocabulary;
    const Weight decoder = model.weight(at.word);
    backend.gather_rows(w.masked_rows, w.hidden, batch.masked_positions, M, H, stream);
    backend.linear_gelu(w.masked_activated, w.masked_pre, w.masked_rows, model.weight(at.masked.weight),
                        model.weight(at.masked.bias), config.activation, M, E, H, stream);
    backend.residual_layer_norm(w.masked_normal, w.masked_mean, w.masked_rstd, w.masked_activated, {},
                                model.master(at.masked_norm.gamma), model.master(at.masked_norm.beta),
                                config.head_layer_norm_epsilon, M, E, stream);
    const Activations dlogits = gradients == nullptr ? Activations{} : w.masked_dlogits;
    backend.classify(sums, dlogits, w.masked_normal, decoder, model.master(at.masked_bias), batch.masked_labels, scale,
                     M, V, E, stream);
    if (gradients == nullptr) return;
    backend.linear_backward_weight(gradients + at.word, gradients + at.masked_bias, dlogits, w.masked_normal, true, M,
                                   V, E, stream);
    backend.linear_backward_data(w.d_masked, dlogits, decoder, {}, M, V, E, stream);
    backend.layer_norm_backward(w.d_masked, gradients + at.masked_norm.gamma, gradients + at.masked_norm.beta, nullptr,
                                w.d_masked, w.masked_activated, w.masked_mean, w.masked_rstd,
                                model.master(at.masked_norm.gamma), M, E, stream);
    backend.gelu_backward(w.d_masked, w.d_masked, w.masked_pre, config.activation, M * E, stream);
    backend.linear_backward_weight(gradients + at.masked.weight, gradients + at.masked.bias, w.d_masked, w.masked_rows,
                                   true, M, E, H, stream);
    backend.linear_backward_data(w.masked_rows, w.d_masked, model.weight(at.masked.weight), {}, M, E, H, stream);
    backend.scatter_add_rows(w.d_hidden, w.masked_rows, batch.masked_positions, M, H, stream);
}

void sentence_head(const Model& model, const DeviceBatch& batch, TrainingWorkspace& w, LossSums* sums, float* gradients,
                   double scale, Stream stream) {
    if (batch.sequences.count == 0 || batch.sentence_labels == nullptr) return;
    Backend& backend = *model.backend;
    const ParameterLayout& at = model.layout;
    const std::int64_t S = batch.sequences.count;
    const std::int64_t H = model.config.hidden;
    constexpr std::int64_t classes = 2;
    const Weight classifier = model.weight(at.sentence.weight);
    backend.gather_rows(w.first_rows, w.hidden, batch.first_tokens, S, H, stream);
    backend.linear(w.pooled, w.first_rows, model.weight(at.pooler.weight), model.weight(at.pooler.bias), S, H, H,
                   stream);
    backend.tanh_forward(w.pooled, w.pooled, S * H, stream);
    const Activations dlogits = gradients == nullptr ? Activations{} : w.sentence_dlogits;
    backend.classify(sums, dlogits, w.pooled, classifier, model.master(at.sentence.bias), batch.sentence_labels, scale,
                     S, classes, H, stream);
    if (gradients == nullptr) return;
    backend.linear_backward_weight(gradients + at.sentence.weight, gradients + at.sentence.bias, dlogits, w.pooled,
                                   true, S, classes, H, stream);
    backend.linear_backward_data(w.d_pooled, dlogits, classifier, {}, S, classes, H, stream);
    backend.tanh_backward(w.d_pooled, w.d_pooled, w.pooled, S * H, stream);
    backend.linear_backward_weight(gradients + at.pooler.weight, gradients + at.pooler.bias, w.d_pooled, w.first_rows,
                                   true, S, H, H, stream);
    backend.linear_backward_data(w.first_rows, w.d_pooled, model.weight(at.pooler.weight), {}, S, H, H, stream);
    backend.scatter_add_rows(w.d_hidden, w.first_rows, batch.first_tokens, S, H, stream);
}

}  // namespace protalbert
