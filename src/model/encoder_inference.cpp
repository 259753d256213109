// The forward pass alone.

#include <algorithm>

#include "base/error.hpp"
#include "model/arena.hpp"
#include "model/model.hpp"
#include "model/operands.hpp"
#include "model/workspace_size.hpp"

namespace protalbert {

namespace {

/// Rows of a slice of the feed-forward, in batches that have so many: enough for a CPU's full rate, since the weights
/// come from memory once for all of them.
constexpr std::int64_t least_slice_rows = 512;

InferenceWorkspace lay_out(const ModelConfig& config, std::int64_t tokens, Arena& arena) {
    const std::int64_t H = config.hidden;
    const std::int64_t F = config.intermediate;
    InferenceWorkspace workspace;
    workspace.tokens = tokens;
    workspace.hidden = arena.activations(tokens * H);
    workspace.attended = arena.activations(tokens * H);
    const std::int64_t shared =
        std::max({tokens * 3 * H, tokens * config.embedding, std::min(tokens, least_slice_rows) * F});
    const Activations piece = arena.activations(shared);
    workspace.embedded = piece;
    workspace.qkv = piece;
    workspace.branch = piece;
    workspace.slice = piece;
    workspace.slice_rows = std::min(tokens, shared / F);
    return workspace;
}

void attention_part(const Model& model, const AttentionOffsets& at, const DeviceBatch& batch,
                    InferenceWorkspace& workspace, Stream stream) {
    Backend& backend = *model.backend;
    const std::int64_t T = batch.sequences.tokens;
    const std::int64_t H = model.config.hidden;
    backend.linear(workspace.qkv, workspace.hidden, model.weight(at.qkv.weight), model.weight(at.qkv.bias), T, 3 * H, H,
                   stream);
    backend.attention_forward(workspace.attended, nullptr, workspace.qkv, batch.sequences, model.config.heads,
                              model.config.head_size(), stream);
    backend.linear(workspace.branch, workspace.attended, model.weight(at.output.weight), model.weight(at.output.bias),
                   T, H, H, stream);
    backend.residual_layer_norm(workspace.hidden, nullptr, nullptr, workspace.branch, workspace.hidden,
                                model.master(at.norm.gamma), model.master(at.norm.beta),
                                model.config.layer_norm_epsilon, T, H, stream);
}

void feed_forward_part(const Model& model, const FeedForwardOffsets& at, std::int64_t T, InferenceWorkspace& workspace,
                       Stream stream) {
    Backend& backend = *model.backend;
    const std::int64_t H = model.config.hidden;
    const std::int64_t F = model.config.intermediate;
    // Equal slices: a short last one would run slowly.
    const std::int64_t slices = (T + workspace.slice_rows - 1) / workspace.slice_rows;
    for (std::int64_t slice = 0; slice < slices; ++slice) {
        const std::int64_t begin = T * slice / slices;
        const std::int64_t rows = T * (slice + 1) / slices - begin;
        const Activations x = workspace.hidden + begin * H;
        backend.linear_gelu(workspace.slice, {}, x, model.weight(at.in.weight), model.weight(at.in.bias),
                            model.config.activation, rows, F, H, stream);
        backend.linear(workspace.attended, workspace.slice, model.weight(at.out.weight), model.weight(at.out.bias),
                       rows, H, F, stream);
        backend.residual_layer_norm(x, nullptr, nullptr, workspace.attended, x, model.master(at.norm.gamma),
                                    model.master(at.norm.beta), model.config.layer_norm_epsilon, rows, H, stream);
    }
}

}  // namespace

std::size_t inference_workspace_bytes(const ModelConfig& config, std::int64_t tokens, std::int64_t element_bytes) {
    Arena count(nullptr, element_bytes);
    lay_out(config, tokens, count);
    return count.bytes();
}

InferenceWorkspace make_inference_workspace(const Model& model, std::int64_t tokens) {
    const std::int64_t element_bytes = model.backend->element_bytes();
    DeviceMemory memory(*model.backend, inference_workspace_bytes(model.config, tokens, element_bytes));
    Arena arena(memory.data(), element_bytes);
    InferenceWorkspace workspace = lay_out(model.config, tokens, arena);
    workspace.memory = std::move(memory);
    return workspace;
}

Activations encode(const Model& model, const DeviceBatch& batch, InferenceWorkspace& workspace, Stream stream,
                   const BlockObserver& observe) {
    check_batch(model, batch);
    const std::int64_t T = batch.sequences.tokens;
    PROTALBERT_CHECK(T <= workspace.tokens, "the batch has more tokens than the workspace was made for");
    if (T == 0) return workspace.hidden;
    Backend& backend = *model.backend;
    const ModelConfig& config = model.config;
    backend.embedding_forward(config.projection ? workspace.embedded : workspace.hidden, nullptr, nullptr, batch.ids,
                              embedding_tables(model), T, config.embedding, stream);
    if (config.projection) {
        backend.linear(workspace.hidden, workspace.embedded, model.weight(model.layout.projection.weight),
                       model.weight(model.layout.projection.bias), T, config.hidden, config.embedding, stream);
    }
    if (observe) observe(0, workspace.hidden);
    for (std::int64_t block = 0; block < config.blocks(); ++block) {
        attention_part(model, attention_of_block(model, block), batch, workspace, stream);
        feed_forward_part(model, feed_forward_of_block(model, block), T, workspace, stream);
        if (observe) observe(block + 1, workspace.hidden);
    }
    return workspace.hidden;
}

}  // namespace protalbert
