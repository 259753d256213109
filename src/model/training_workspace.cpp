#include "model/training_workspace.hpp"

#include "model/arena.hpp"
#include "model/workspace_size.hpp"

namespace protalbert {

StashOrder order_stashes(const std::vector<int>& part_of_block, std::size_t parts) {
    StashOrder order;
    order.slot.resize(part_of_block.size());
    order.first.resize(parts);
    order.blocks.resize(parts);
    order.spare.resize(parts);
    std::size_t last_block = 0;
    for (std::size_t part = 0; part < parts; ++part) {
        order.first[part] = order.slots;
        for (std::size_t block = 0; block < part_of_block.size(); ++block) {
            if (part_of_block[block] != static_cast<int>(part)) continue;
            // Going down, a backward pass meets the later block first.
            const bool first = order.blocks[part] == 0;
            if (first && part > 0 && block < last_block) ++order.spare_slots;
            if (first) order.spare[part] = order.spare_slots;
            order.slot[block] = order.slots++;
            ++order.blocks[part];
        }
        for (std::size_t block = 0; block < part_of_block.size(); ++block) {
            if (part_of_block[block] == static_cast<int>(part)) last_block = block;
        }
    }
    ++order.spare_slots;  // behind the last part
    return order;
}

std::vector<GradientRange> gradient_order(const ParameterLayout& layout) {
    std::vector<GradientRange> order;
    const auto add = [&order](std::int64_t begin, std::int64_t end) { order.push_back({begin, end - begin}); };
    add(layout.pooler.weight, layout.size);
    add(0, layout.attention.front().qkv.weight);
    for (const FeedForwardOffsets& part : layout.feed_forward) add(part.out.weight, part.end);
    for (const FeedForwardOffsets& part : layout.feed_forward) add(part.in.weight, part.out.weight);
    for (const AttentionOffsets& part : layout.attention) add(part.qkv.weight, part.output.weight);
    for (const AttentionOffsets& part : layout.attention) add(part.output.weight, part.end);
    return order;
}

namespace {

TrainingWorkspace lay_out(const ModelConfig& config, const ParameterLayout& layout, std::int64_t tokens,
                          std::int64_t sequences, std::int64_t masked, Arena& arena) {
    const std::int64_t T = tokens;
    const std::int64_t S = sequences;
    const std::int64_t M = masked;
    const std::int64_t H = config.hidden;
    const std::int64_t F = config.intermediate;
    const std::int64_t E = config.embedding;
    TrainingWorkspace w;
    w.tokens = tokens;
    w.sequences = sequences;
    w.masked = masked;
    w.order = gradient_order(layout);
    w.attention_order = order_stashes(layout.attention_of_block, layout.attention.size());
    w.feed_forward_order = order_stashes(layout.feed_forward_of_block, layout.feed_forward.size());

    const std::int64_t slots = config.blocks();
    w.input = arena.activations(slots * T * H);
    w.qkv = arena.activations((slots + w.attention_order.spare_slots) * T * 3 * H);
    w.logsumexp = arena.floats(slots * config.heads * T);
    w.attended = arena.activations(slots * T * H);
    w.attention_sum = arena.activations(slots * T * H);
    w.attention_mean = arena.floats(slots * T);
    w.attention_rstd = arena.floats(slots * T);
    w.middle = arena.activations(slots * T * H);
    w.pre = arena.activations(slots * T * F);
    w.activated = arena.activations(slots * T * F);
    w.output_sum = arena.activations(slots * T * H);
    w.output_mean = arena.floats(slots * T);
    w.output_rstd = arena.floats(slots * T);

    w.embedding_mean = arena.floats(T);
    w.embedding_rstd = arena.floats(T);
    w.hidden = arena.activations(T * H);
    w.d_hidden = arena.activations(T * H);
    w.d_attended = arena.activations(T * H);
    if (config.projection) {
        w.embedded = arena.activations(T * E);
        w.d_embedded = arena.activations(T * E);
    } else {
        w.embedded = w.input;
        w.d_embedded = w.d_hidden;
    }

    w.masked_rows = arena.activations(M * H);
    w.masked_pre = arena.activations(M * E);
    w.masked_activated = arena.activations(M * E);
    w.masked_normal = arena.activations(M * E);
    w.d_masked = arena.activations(M * E);
    w.masked_dlogits = arena.activations(M * config.vocabulary);
    w.masked_mean = arena.floats(M);
    w.masked_rstd = arena.floats(M);

    w.first_rows = arena.activations(S * H);
    w.pooled = arena.activations(S * H);
    w.d_pooled = arena.activations(S * H);
    w.sentence_dlogits = arena.activations(S * 2);
    return w;
}

}  // namespace

std::size_t training_workspace_bytes(const ModelConfig& config, const ParameterLayout& layout, std::int64_t tokens,
                                     std::int64_t sequences, std::int64_t masked, std::int64_t element_bytes) {
    Arena count(nullptr, element_bytes);
    lay_out(config, layout, tokens, sequences, masked, count);
    return count.bytes();
}

void TrainingWorkspaceDeleter::operator()(TrainingWorkspace* workspace) const { delete workspace; }

TrainingWorkspacePointer make_training_workspace(const Model& model, std::int64_t tokens, std::int64_t sequences,
                                                 std::int64_t masked) {
    const std::int64_t element_bytes = model.backend->element_bytes();
    DeviceMemory memory(*model.backend,
                        training_workspace_bytes(model.config, model.layout, tokens, sequences, masked, element_bytes));
    Arena arena(memory.data(), element_bytes);
    TrainingWorkspacePointer workspace(
        new TrainingWorkspace(lay_out(model.config, model.layout, tokens, sequences, masked, arena)));
    workspace->memory = std::move(memory);
    return workspace;
}

AttentionStash attention_stash(const TrainingWorkspace& w, const ModelConfig& config, std::size_t part,
                               std::int64_t slot, std::int64_t T) {
    const std::int64_t row = slot * T;
    const std::int64_t wide_row = row + w.attention_order.spare[part] * T;
    const std::int64_t H = config.hidden;
    return {.input = w.input + row * H,
            .qkv = w.qkv + wide_row * 3 * H,
            .d_qkv = w.qkv + (wide_row + T) * 3 * H,
            .logsumexp = w.logsumexp + row * config.heads,
            .attended = w.attended + row * H,
            .sum = w.attention_sum + row * H,
            .mean = w.attention_mean + row,
            .rstd = w.attention_rstd + row};
}

FeedForwardStash feed_forward_stash(const TrainingWorkspace& w, const ModelConfig& config, std::int64_t slot,
                                    std::int64_t T) {
    const std::int64_t row = slot * T;
    const std::int64_t H = config.hidden;
    const std::int64_t F = config.intermediate;
    return {.input = w.middle + row * H,
            .pre = w.pre + row * F,
            .activated = w.activated + row * F,
            .sum = w.output_sum + row * H,
            .mean = w.output_mean + row,
            .rstd = w.output_rstd + row};
}

}  // namespace protalbert
