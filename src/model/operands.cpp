#include "model/operands.hpp"

#include <fmt/format.h>

#include "base/error.hpp"

namespace protalbert {

EmbeddingTables embedding_tables(const Model& model) {
    const ParameterLayout& layout = model.layout;
    return {model.master(layout.word),
            model.master(layout.position),
            model.master(layout.segment),
            model.master(layout.embedding_norm.gamma),
            model.master(layout.embedding_norm.beta),
            model.config.layer_norm_epsilon};
}

const AttentionOffsets& attention_of_block(const Model& model, std::int64_t block) {
    const auto b = static_cast<std::size_t>(block);
    return model.layout.attention[static_cast<std::size_t>(model.layout.attention_of_block[b])];
}

const FeedForwardOffsets& feed_forward_of_block(const Model& model, std::int64_t block) {
    const auto b = static_cast<std::size_t>(block);
    return model.layout.feed_forward[static_cast<std::size_t>(model.layout.feed_forward_of_block[b])];
}

void check_batch(const Model& model, const DeviceBatch& batch) {
    if (batch.largest_token >= model.config.vocabulary) {
        throw Error(
            fmt::format("a batch holds token {}, but the model's vocabulary has {} pieces; the corpus and the "
                        "model must be made with the same vocabulary",
                        batch.largest_token, model.config.vocabulary));
    }
    if (batch.largest_position >= model.config.positions) {
        throw Error(fmt::format("a batch holds a sequence of {} tokens, but the model knows {} positions",
                                batch.largest_position + 1, model.config.positions));
    }
}

}  // namespace protalbert
