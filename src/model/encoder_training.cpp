#include "model/encoder_training.hpp"

#include "model/operands.hpp"

namespace protalbert {

namespace {

AttentionStash attention_stash_of_block(const Model& model, const TrainingWorkspace& workspace, std::int64_t block,
                                        std::int64_t T) {
    const auto b = static_cast<std::size_t>(block);
    return attention_stash(workspace, model.config, static_cast<std::size_t>(model.layout.attention_of_block[b]),
                           workspace.attention_order.slot[b], T);
}

FeedForwardStash feed_forward_stash_of_block(const Model& model, const TrainingWorkspace& workspace, std::int64_t block,
                                             std::int64_t T) {
    return feed_forward_stash(workspace, model.config,
                              workspace.feed_forward_order.slot[static_cast<std::size_t>(block)], T);
}

void forward_attention(const Model& model, const DeviceBatch& batch, const AttentionOffsets& at,
                       const AttentionStash& stash, Activations out, Stream stream) {
    Backend& backend = *model.backend;
    const std::int64_t T = batch.sequences.tokens;
    const std::int64_t H = model.config.hidden;
    backend.linear(stash.qkv, stash.input, model.weight(at.qkv.weight), model.weight(at.qkv.bias), T, 3 * H, H, stream);
    backend.attention_forward(stash.attended, stash.logsumexp, stash.qkv, batch.sequences, model.config.heads,
                              model.config.head_size(), stream);
    backend.linear(stash.sum, stash.attended, model.weight(at.output.weight), model.weight(at.output.bias), T, H, H,
                   stream);
    backend.residual_layer_norm(out, stash.mean, stash.rstd, stash.sum, stash.input, model.master(at.norm.gamma),
                                model.master(at.norm.beta), model.config.layer_norm_epsilon, T, H, stream);
}

void forward_feed_forward(const Model& model, std::int64_t T, const FeedForwardOffsets& at,
                          const FeedForwardStash& stash, Activations out, Stream stream) {
    Backend& backend = *model.backend;
    const std::int64_t H = model.config.hidden;
    const std::int64_t F = model.config.intermediate;
    backend.linear_gelu(stash.activated, stash.pre, stash.input, model.weight(at.in.weight), model.weight(at.in.bias),
                        model.config.activation, T, F, H, stream);
    backend.linear(stash.sum, stash.activated, model.weight(at.out.weight), model.weight(at.out.bias), T, H, F, stream);
    backend.residual_layer_norm(out, stash.mean, stash.rstd, stash.sum, stash.input, model.master(at.norm.gamma),
                                model.master(at.norm.beta), model.config.layer_norm_epsilon, T, H, stream);
}

/// d_hidden [T, H]: gradient of the part's output, then of its input.
void backward_feed_forward(const Model& model, std::int64_t T, const FeedForwardOffsets& at,
                           const FeedForwardStash& stash, Activations d_hidden, float* gradients, Stream stream) {
    Backend& backend = *model.backend;
    const std::int64_t H = model.config.hidden;
    const std::int64_t F = model.config.intermediate;
    backend.layer_norm_backward(stash.sum, gradients + at.norm.gamma, gradients + at.norm.beta, gradients + at.out.bias,
                                d_hidden, stash.sum, stash.mean, stash.rstd, model.master(at.norm.gamma), T, H, stream);
    backend.linear_backward_data_gelu(stash.pre, gradients + at.in.bias, stash.sum, model.weight(at.out.weight),
                                      stash.pre, model.config.activation, T, H, F, stream);
    // The residual branch passes the sum's gradient on as it is.
    backend.linear_backward_data(d_hidden, stash.pre, model.weight(at.in.weight), stash.sum, T, F, H, stream);
}

/// As backward_feed_forward; d_attended [T, H] is overwritten.
void backward_attention(const Model& model, const DeviceBatch& batch, const AttentionOffsets& at,
                        const AttentionStash& stash, Activations d_hidden, Activations d_attended, float* gradients,
                        Stream stream) {
    Backend& backend = *model.backend;
    const std::int64_t T = batch.sequences.tokens;
    const std::int64_t H = model.config.hidden;
    backend.layer_norm_backward(stash.sum, gradients + at.norm.gamma, gradients + at.norm.beta,
                                gradients + at.output.bias, d_hidden, stash.sum, stash.mean, stash.rstd,
                                model.master(at.norm.gamma), T, H, stream);
    backend.linear_backward_data(d_attended, stash.sum, model.weight(at.output.weight), {}, T, H, H, stream);
    backend.attention_backward(stash.d_qkv, d_attended, stash.attended, stash.qkv, stash.logsumexp, batch.sequences,
                               model.config.heads, model.config.head_size(), stream);
    backend.linear_backward_data(d_hidden, stash.d_qkv, model.weight(at.qkv.weight), stash.sum, T, 3 * H, H, stream);
}

}  // namespace

void forward_encoder(const Model& model, const DeviceBatch& batch, TrainingWorkspace& workspace, Stream stream) {
    Backend& backend = *model.backend;
    const ModelConfig& config = model.config;
    const std::int64_t T = batch.sequences.tokens;
    backend.embedding_forward(workspace.embedded, workspace.embedding_mean, workspace.embedding_rstd, batch.ids,
                              embedding_tables(model), T, config.embedding, stream);
    if (config.projection) {
        const DenseOffsets& at = model.layout.projection;
        backend.linear(attention_stash_of_block(model, workspace, 0, T).input, workspace.embedded,
                       model.weight(at.weight), model.weight(at.bias), T, config.hidden, config.embedding, stream);
    }
    for (std::int64_t block = 0; block < config.blocks(); ++block) {
        const AttentionStash attention = attention_stash_of_block(model, workspace, block, T);
        const FeedForwardStash feed_forward = feed_forward_stash_of_block(model, workspace, block, T);
        const Activations out = block + 1 < config.blocks()
                                    ? attention_stash_of_block(model, workspace, block + 1, T).input
                                    : workspace.hidden;
        forward_attention(model, batch, attention_of_block(model, block), attention, feed_forward.input, stream);
        forward_feed_forward(model, T, feed_forward_of_block(model, block), feed_forward, out, stream);
    }
}

void backward_encoder_data(const Model& model, const DeviceBatch& batch, TrainingWorkspace& workspace, float* gradients,
                           Stream stream) {
    const std::int64_t T = batch.sequences.tokens;
    for (std::int64_t block = model.config.blocks() - 1; block >= 0; --block) {
        backward_feed_forward(model, T, feed_forward_of_block(model, block),
                              feed_forward_stash_of_block(model, workspace, block, T), workspace.d_hidden, gradients,
                              stream);
        backward_attention(model, batch, attention_of_block(model, block),
                           attention_stash_of_block(model, workspace, block, T), workspace.d_hidden,
                           workspace.d_attended, gradients, stream);
    }
}

void backward_embeddings(const Model& model, const DeviceBatch& batch, TrainingWorkspace& workspace, float* gradients,
                         Stream stream) {
    Backend& backend = *model.backend;
    const ModelConfig& config = model.config;
    const ParameterLayout& layout = model.layout;
    const std::int64_t T = batch.sequences.tokens;
    if (config.projection) {
        const DenseOffsets& at = layout.projection;
        backend.linear_backward_weight(gradients + at.weight, gradients + at.bias, workspace.d_hidden,
                                       workspace.embedded, true, T, config.hidden, config.embedding, stream);
        backend.linear_backward_data(workspace.d_embedded, workspace.d_hidden, model.weight(at.weight), {}, T,
                                     config.hidden, config.embedding, stream);
    }
    const EmbeddingGradients tables{gradients + layout.word, gradients + layout.position, gradients + layout.segment,
                                    gradients + layout.embedding_norm.gamma, gradients + layout.embedding_norm.beta};
    backend.embedding_backward(tables, workspace.d_embedded, workspace.embedding_mean, workspace.embedding_rstd,
                               batch.ids, embedding_tables(model), T, config.embedding, config.vocabulary,
                               config.positions, stream);
}

void backward_encoder_weights(const Model& model, const DeviceBatch& batch, TrainingWorkspace& workspace,
                              float* gradients, const std::function<void()>& announce, Stream stream) {
    const std::int64_t T = batch.sequences.tokens;
    const std::int64_t H = model.config.hidden;
    const std::int64_t F = model.config.intermediate;
    // The passes that made the other products' dy have added up their biases' gradients.
    const auto product = [&](const DenseOffsets& at, bool with_bias, Activations dy, Activations x, std::int64_t rows,
                             std::int64_t out, std::int64_t in) {
        model.backend->linear_backward_weight(gradients + at.weight, with_bias ? gradients + at.bias : nullptr, dy, x,
                                              true, rows, out, in, stream);
        announce();
    };
    const StashOrder& feed_forward = workspace.feed_forward_order;
    const StashOrder& attention = workspace.attention_order;
    for (std::size_t part = 0; part < feed_forward.blocks.size(); ++part) {
        const FeedForwardStash stash = feed_forward_stash(workspace, model.config, feed_forward.first[part], T);
        product(model.layout.feed_forward[part].out, false, stash.sum, stash.activated, feed_forward.blocks[part] * T,
                H, F);
    }
    for (std::size_t part = 0; part < feed_forward.blocks.size(); ++part) {
        const FeedForwardStash stash = feed_forward_stash(workspace, model.config, feed_forward.first[part], T);
        product(model.layout.feed_forward[part].in, false, stash.pre, stash.input, feed_forward.blocks[part] * T, F, H);
    }
    for (std::size_t part = 0; part < attention.blocks.size(); ++part) {
        const AttentionStash stash = attention_stash(workspace, model.config, part, attention.first[part], T);
        product(model.layout.attention[part].qkv, true, stash.d_qkv, stash.input, attention.blocks[part] * T, 3 * H, H);
    }
    for (std::size_t part = 0; part < attention.blocks.size(); ++part) {
        const AttentionStash stash = attention_stash(workspace, model.config, part, attention.first[part], T);
        product(model.layout.attention[part].output, false, stash.sum, stash.attended, attention.blocks[part] * T, H,
                H);
    }
}

}  // namespace protalbert
