// The list of attention's tiles.

#include <algorithm>
#include <limits>
#include <string>

#include "base/error.hpp"
#include "kernels/cuda/attention.hpp"

namespace protalbert::cuda {

std::int64_t list_attention_tiles(AttentionTile* host, const PackedSequences& sequences) {
    PROTALBERT_CHECK(sequences.tokens <= std::numeric_limits<std::int32_t>::max(), "use a smaller batch_tokens");
    std::int64_t count = 0;
    for (std::int64_t s = 0; s < sequences.count; ++s) {
        const std::int64_t begin = sequences.host_offsets[s];
        const std::int64_t length = sequences.host_offsets[s + 1] - begin;
        if (length > most_attention_rows) {
            throw Error("attention on a GPU takes sequences of at most " + std::to_string(most_attention_rows) +
                        " tokens, not " + std::to_string(length));
        }
        for (std::int64_t first = 0; first < length; first += attention_tile_rows) {
            host[count++] = {static_cast<std::int32_t>(begin), static_cast<std::int32_t>(length),
                             static_cast<std::int32_t>(first)};
        }
    }
    std::sort(host, host + count, [](const AttentionTile& a, const AttentionTile& b) {
        if (a.length != b.length) return a.length > b.length;
        return a.begin != b.begin ? a.begin < b.begin : a.first < b.first;
    });
    return count;
}

void check_attention_columns(std::int64_t A, std::int64_t D) {
    if (3 * A * D <= most_attention_columns) return;
    throw Error("attention on a GPU takes at most " + std::to_string(most_attention_columns / 3) +
                " hidden features, not " + std::to_string(A * D));
}

}  // namespace protalbert::cuda
