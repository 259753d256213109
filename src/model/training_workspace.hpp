#pragma once
// What a training step keeps on the device. The backward pass leaves the output gradient of each product where the
// forward pass left something it no longer needs, so that the gradients of all blocks wait there for the weight
// products without memory of their own:
//   gradient of          lies over
//   Wo's output [T, H]    the sum before the attention part's layer norm, same block
//   W2's output [T, H]    the sum before the feed-forward part's layer norm, same block
//   W1's output [T, F]    the input of the GELU, same block
//   QKV's output [T, 3H]  queries, keys and values of the next slot, whose block is done with them
// Blocks that share a part have neighbouring slots: seen from the first of them, every stash is one matrix of
// (blocks x T) rows.

#include <cstdint>
#include <vector>

#include "model/model.hpp"

namespace protalbert {

/// A range of the gradient array that becomes final at once.
struct GradientRange {
    std::int64_t offset;
    std::int64_t size;
};
/// Ranges in the order in which a backward pass announces them: heads, embeddings, then for all parts W2 with its layer
/// norm, W1, QKV, Wo with its layer norm.
std::vector<GradientRange> gradient_order(const ParameterLayout& layout);

/// Slots of the stashes of one kind of part (attention or feed-forward).
struct StashOrder {
    std::vector<std::int64_t> slot;    ///< [blocks]
    std::vector<std::int64_t> blocks;  ///< [parts] blocks that run the part
    std::vector<std::int64_t> first;   ///< [parts] its first slot
    std::vector<std::int64_t> spare;   ///< [parts] spare slots before it
    std::int64_t slots = 0;            ///< without spare ones
    std::int64_t spare_slots = 0;
};
/// Slots by (part, block). A spare slot follows a part wherever its last block could not leave something in the next
/// slot, since that one's block is not done yet when a backward pass comes to it.
StashOrder order_stashes(const std::vector<int>& part_of_block, std::size_t parts);

struct TrainingWorkspace {
    DeviceMemory memory;
    std::int64_t tokens = 0, sequences = 0, masked = 0;  ///< the most it can hold
    std::vector<GradientRange> order;

    StashOrder attention_order, feed_forward_order;
    // Bases of the stashes, [slots, T, ...] with the T of the current batch.
    Activations input;                ///< [slots, T, H] input of the attention part
    Activations qkv;                  ///< [slots + spare, T, 3H]
    float* logsumexp = nullptr;       ///< [slots, A, T]
    Activations attended;             ///< [slots, T, H]
    Activations attention_sum;        ///< [slots, T, H]
    float* attention_mean = nullptr;  ///< [slots, T]
    float* attention_rstd = nullptr;  ///< [slots, T]
    Activations middle;               ///< [slots, T, H] input of the feed-forward part
    Activations pre;                  ///< [slots, T, F]
    Activations activated;            ///< [slots, T, F]
    Activations output_sum;           ///< [slots, T, H]
    float* output_mean = nullptr;     ///< [slots, T]
    float* output_rstd = nullptr;     ///< [slots, T]

    Activations embedded;             ///< [T, E]; without a projection the first block's input
    float* embedding_mean = nullptr;  ///< [T]
    float* embedding_rstd = nullptr;  ///< [T]
    Activations hidden;               ///< [T, H] last hidden state
    Activations d_hidden;             ///< [T, H] gradient that travels down
    Activations d_attended;           ///< [T, H]
    Activations d_embedded;           ///< [T, E]

    // Masked-residue head
    Activations masked_rows;       ///< [M, H] hidden states, then their gradients
    Activations masked_pre;        ///< [M, E]
    Activations masked_activated;  ///< [M, E]
    Activations masked_normal;     ///< [M, E]
    Activations d_masked;          ///< [M, E]
    Activations masked_dlogits;    ///< [M, V]
    float* masked_mean = nullptr;  ///< [M]
    float* masked_rstd = nullptr;  ///< [M]
    // Sentence head
    Activations first_rows;        ///< [S, H] hidden states of [CLS], then their gradients
    Activations pooled;            ///< [S, H]
    Activations d_pooled;          ///< [S, H]
    Activations sentence_dlogits;  ///< [S, 2]
};

/// The stash of one block's attention part; of a whole part when taken at its first slot.
struct AttentionStash {
    Activations input;           ///< [T, H]
    Activations qkv;             ///< [T, 3H]
    Activations d_qkv;           ///< [T, 3H]
    float* logsumexp = nullptr;  ///< [A, T]
    Activations attended;        ///< [T, H]
    Activations sum;             ///< [T, H], then its gradient
    float* mean = nullptr;       ///< [T]
    float* rstd = nullptr;       ///< [T]
};
AttentionStash attention_stash(const TrainingWorkspace& workspace, const ModelConfig& config, std::size_t part,
                               std::int64_t slot, std::int64_t T);

struct FeedForwardStash {
    Activations input;      ///< [T, H]
    Activations pre;        ///< [T, F], then its gradient
    Activations activated;  ///< [T, F]
    Activations sum;        ///< [T, H], then its gradient
    float* mean = nullptr;  ///< [T]
    float* rstd = nullptr;  ///< [T]
};
FeedForwardStash feed_forward_stash(const TrainingWorkspace& workspace, const ModelConfig& config, std::int64_t slot,
                                    std::int64_t T);

}  // namespace protalbert
