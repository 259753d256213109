#pragma once
// What inference and training pass to the backend alike.

#include "model/model.hpp"

namespace protalbert {

/// The five arrays of the embedding layer.
EmbeddingTables embedding_tables(const Model& model);
/// Offsets of the two parts of the layer that block `block` runs.
const AttentionOffsets& attention_of_block(const Model& model, std::int64_t block);
const FeedForwardOffsets& feed_forward_of_block(const Model& model, std::int64_t block);
/// Throws Error for a token beyond the vocabulary or a position beyond the table.
void check_batch(const Model& model, const DeviceBatch& batch);

}  // namespace protalbert
