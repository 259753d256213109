#pragma once
// A packed batch on the host: the tokens of all its sequences one after another, without padding.

#include <cstdint>
#include <vector>

namespace protalbert {

struct PackedBatch {
    std::vector<std::int32_t> tokens;            ///< [T] after masking
    std::vector<std::int32_t> segments;          ///< [T] 0 through the first [SEP], then 1
    std::vector<std::int32_t> positions;         ///< [T] from 0 within each sequence
    std::vector<std::int64_t> cu_seqlens;        ///< [S + 1]
    std::vector<std::int64_t> masked_positions;  ///< [M] indices into [T], ascending
    std::vector<std::int32_t> masked_labels;     ///< [M] the ids before masking
    std::vector<std::int32_t> sentence_labels;   ///< [S] 1: swapped or random, 0: in order, -1: none (too short)
    std::vector<std::uint64_t> samples;          ///< [S] sequence numbers in the corpus
    std::vector<std::uint32_t> places;           ///< [S] place of each sequence within the step's global batch

    std::int64_t token_count() const { return static_cast<std::int64_t>(tokens.size()); }
    std::int64_t sequence_count() const { return static_cast<std::int64_t>(samples.size()); }
    std::int64_t masked_count() const { return static_cast<std::int64_t>(masked_positions.size()); }
    /// Empties it and keeps its memory.
    void clear() {
        tokens.clear();
        segments.clear();
        positions.clear();
        cu_seqlens.assign(1, 0);
        masked_positions.clear();
        masked_labels.clear();
        sentence_labels.clear();
        samples.clear();
        places.clear();
    }
};

}  // namespace protalbert
