#pragma once
// Attention within the sequences of a packed batch on the device. A block works on one tile of 128 queries (or, for the
// gradients of k and v, keys) of one head; the tiles of a batch are listed on the host, once, and uploaded with it.

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/backend.hpp"

namespace protalbert::cuda {

/// Rows of a tile.
constexpr std::int64_t attention_tile_rows = 128;
/// Largest sequence, and largest 3H: kernels address a sequence's elements with 31 bits.
constexpr std::int64_t most_attention_rows = 65536;
constexpr std::int64_t most_attention_columns = 32768;

/// The rows [first, min(first + attention_tile_rows, length)) of the sequence of `length` tokens that starts at token
/// `begin` of the batch.
struct alignas(16) AttentionTile {
    std::int32_t begin, length, first;
};

/// The tiles of a batch in device memory.
struct AttentionTiles {
    const AttentionTile* tile;
    std::int64_t count;
};

/// At least as many tiles as a batch of S sequences and T tokens has: what to reserve.
constexpr std::int64_t most_attention_tiles(std::int64_t S, std::int64_t T) { return S + T / attention_tile_rows; }

/// Lists the tiles of `sequences` in `host` [most_attention_tiles] and returns their number: those of the longest
/// sequence first, so that no long one is started last, when other multiprocessors have run out of work.
/// Allocates nothing. Throws Error where a sequence is longer than most_attention_rows or T does not fit 31 bits.
std::int64_t list_attention_tiles(AttentionTile* host, const PackedSequences& sequences);

/// Throws Error where 3 A D is more than most_attention_columns.
void check_attention_columns(std::int64_t A, std::int64_t D);

/// out [T, H], logsumexp [A, T] (may be null) from qkv [T, 3H], H = A D. Arrays of bfloat16 start at multiples of 16
/// bytes.
void attention_forward(__nv_bfloat16* out, float* logsumexp, const __nv_bfloat16* qkv, AttentionTiles tiles,
                       std::int64_t T, std::int64_t A, std::int64_t D, cudaStream_t stream);
void attention_forward(float* out, float* logsumexp, const float* qkv, AttentionTiles tiles, std::int64_t T,
                       std::int64_t A, std::int64_t D, cudaStream_t stream);

/// dqkv [T, 3H]; `delta` [A, T] is workspace. No atomics: the same bits each time, whatever else is in the batch.
void attention_backward(__nv_bfloat16* dqkv, float* delta, const __nv_bfloat16* dout, const __nv_bfloat16* out,
                        const __nv_bfloat16* qkv, const float* logsumexp, AttentionTiles tiles, std::int64_t T,
                        std::int64_t A, std::int64_t D, cudaStream_t stream);
void attention_backward(float* dqkv, float* delta, const float* dout, const float* out, const float* qkv,
                        const float* logsumexp, AttentionTiles tiles, std::int64_t T, std::int64_t A, std::int64_t D,
                        cudaStream_t stream);

}  // namespace protalbert::cuda
