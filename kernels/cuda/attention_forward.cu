// Attention, forward, bfloat16: flash attention (Dao 2023, arXiv:2307.08691) with mma.sync.
//
// A block holds 128 queries of one head and walks over the keys and values of their sequence, 64 at a time, double
// buffered: while the tensor cores work on one tile the next is on its way. A row's scores lie in four lanes of one
// warp, which keep the running maximum and sum of the softmax in float32; no warp needs another's numbers, so one
// barrier a tile is enough: it says that the tile has arrived and that the other buffer is free.
//
// A warp has 32 queries, two products for each operand b that it reads from shared memory: with 16 the reading (256
// bytes a product, 128 a cycle and multiprocessor) would take as long as the product on an A100, longer on an H100. The
// queries themselves are read again for each tile, a quarter more: registers would hold them, but little else.
//
// On an H200 249 TFLOP/s at length 512 and 275 at 2048 (head size 64; tests/gpu/measured.md). Hopper's own products,
// wgmma, take more from its tensor cores than mma.sync can.

#include <cmath>

#include "kernels/cuda/attention_simple.hpp"
#include "kernels/cuda/attention_tile.cuh"

namespace protalbert::cuda {

namespace {

template <int D>
struct Forward {
    static constexpr int groups = 2;  ///< of 16 queries, of a warp
    static constexpr int threads = static_cast<int>(attention_tile_rows) / (16 * groups) * warp_threads;
    static constexpr int blocks = 2;  ///< on a multiprocessor: its 65,536 registers, 255 a thread
    /// Keys of a tile: the scores of 32 queries with 64 of them take 64 registers, the sums D.
    static constexpr int key_tile = D <= 64 ? 64 : 32;
    static constexpr int q_elements = static_cast<int>(attention_tile_rows) * D;
    static constexpr int tile_elements = key_tile * D;
    /// q, then k and v of one tile, k and v of the next.
    static constexpr int shared_bytes = (q_elements + 4 * tile_elements) * static_cast<int>(sizeof(bfloat16));
};

/// What a warp knows of its queries. Row g = lane / 4 of a group is number 0, row g + 8 number 1; columns as in
/// mma_m16n8k16.
template <int D>
struct Rows {
    static constexpr int groups = Forward<D>::groups;
    float out[groups][D / 8][4];  ///< sums of exp(score - maximum) v
    float maximum[groups][2];     ///< of the scores, not scaled
    float sum[groups][2];         ///< of exp(score - maximum), this lane's columns alone
};

/// Adds a tile of keys and values. `own`: the queries' rows of q (left_then_right). `keys`: how many of them are the
/// sequence's, where `last`.
template <int D, bool last>
__device__ __forceinline__ void add_tile(Rows<D>& rows, MatrixRow own, Shared<bfloat16> k, Shared<bfloat16> v, int keys,
                                         float log2_scale, unsigned lane) {
    constexpr int groups = Forward<D>::groups, key_tile = Forward<D>::key_tile;
    own = opaque(own);  // the addresses of other columns are quicker computed again for each tile than kept
    const MatrixRow key_rows = upper_then_lower<D>(k, lane), value_columns = left_then_right<D>(v, lane);
    float score[groups][key_tile / 8][4] = {};
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
        std::uint32_t a[groups][4];
#pragma unroll
        for (int group = 0; group < groups; ++group) load_a<D>(a[group], own, 16 * group, step);
#pragma unroll
        for (int n = 0; n < key_tile / 16; ++n) {
            if (last && 16 * n >= keys) continue;
            std::uint32_t b[2][2];
            load_b_of_rows<D>(b, key_rows, 16 * n, step);
#pragma unroll
            for (int group = 0; group < groups; ++group) {
                mma_m16n8k16(score[group][2 * n], a[group], b[0]);
                mma_m16n8k16(score[group][2 * n + 1], a[group], b[1]);
            }
        }
    }
    if (last) {
#pragma unroll
        for (int n = 0; n < key_tile / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                if (8 * n + static_cast<int>(lane % 4) * 2 + i % 2 < keys) continue;
#pragma unroll
                for (int group = 0; group < groups; ++group) score[group][n][i] = -INFINITY;
            }
        }
    }
#pragma unroll
    for (int group = 0; group < groups; ++group) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float largest = rows.maximum[group][half];
#pragma unroll
            for (int n = 0; n < key_tile / 8; ++n) {
                largest = fmaxf(largest, fmaxf(score[group][n][2 * half], score[group][n][2 * half + 1]));
            }
            largest = fmaxf(largest, __shfl_xor_sync(all_lanes, largest, 1));
            largest = fmaxf(largest, __shfl_xor_sync(all_lanes, largest, 2));
            const float shrink = exp2_approximate((rows.maximum[group][half] - largest) * log2_scale);
            const float shift = largest * log2_scale;
            rows.maximum[group][half] = largest;
            float sum = rows.sum[group][half] * shrink;
#pragma unroll
            for (int n = 0; n < key_tile / 8; ++n) {
#pragma unroll
                for (int i = 2 * half; i < 2 * half + 2; ++i) {
                    score[group][n][i] = exp2_approximate(fmaf(score[group][n][i], log2_scale, -shift));
                    sum += score[group][n][i];
                }
            }
            rows.sum[group][half] = sum;
#pragma unroll
            for (int n = 0; n < D / 8; ++n) {
                rows.out[group][n][2 * half] *= shrink;
                rows.out[group][n][2 * half + 1] *= shrink;
            }
        }
    }
#pragma unroll
    for (int step = 0; step < key_tile / 16; ++step) {
        if (last && 16 * step >= keys) continue;
        std::uint32_t p[groups][4];
#pragma unroll
        for (int group = 0; group < groups; ++group) {
            pack_a(p[group], score[group][2 * step], score[group][2 * step + 1]);
        }
#pragma unroll
        for (int n = 0; n < D / 16; ++n) {
            std::uint32_t b[2][2];
            load_b_of_columns<D>(b, value_columns, 16 * step, n);
#pragma unroll
            for (int group = 0; group < groups; ++group) {
                mma_m16n8k16(rows.out[group][2 * n], p[group], b[0]);
                mma_m16n8k16(rows.out[group][2 * n + 1], p[group], b[1]);
            }
        }
    }
}

/// Divides by the sum and writes out and logsumexp of the rows below `valid`.
template <int D>
__device__ __forceinline__ void finish(Rows<D>& rows, bfloat16* out, int stride, float* logsumexp, int valid,
                                       Shared<bfloat16> stage, int first_row, float log2_scale, unsigned lane) {
#pragma unroll
    for (int group = 0; group < Forward<D>::groups; ++group) {
        const int row = first_row + 16 * group;
        float factor[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float sum = rows.sum[group][half];
            sum += __shfl_xor_sync(all_lanes, sum, 1);
            sum += __shfl_xor_sync(all_lanes, sum, 2);
            factor[half] = 1 / sum;
            const int r = row + static_cast<int>(lane / 4) + 8 * half;
            if (logsumexp != nullptr && lane % 4 == 0 && r < valid) {
                constexpr float ln2 = 0.693147180559945F;
                logsumexp[r] = rows.maximum[group][half] * log2_scale * ln2 + logf(sum);
            }
        }
        store_rows<D>(out, stride, valid, stage, row, rows.out[group], factor, lane);
    }
}

/// Grid: tile by tile, the heads of each side by side. `log2_scale`: log2(e) / sqrt D, so that exp is one exp2.
template <int D>
__global__ void __launch_bounds__(Forward<D>::threads, Forward<D>::blocks)
    attention_forward_kernel(bfloat16* __restrict__ out /*[T, H]*/, float* __restrict__ logsumexp /*[A, T] or null*/,
                             const bfloat16* __restrict__ qkv /*[T, 3H]*/, const AttentionTile* __restrict__ tiles,
                             std::int64_t T, int A, float log2_scale) {
    constexpr int groups = Forward<D>::groups, threads = Forward<D>::threads;
    constexpr int key_tile = Forward<D>::key_tile, tile_elements = Forward<D>::tile_elements;
    const Shared<bfloat16> q = dynamic_shared<bfloat16>(0, Forward<D>::q_elements);
    const Shared<bfloat16> kv =
        dynamic_shared<bfloat16>(Forward<D>::q_elements * static_cast<int>(sizeof(bfloat16)), 4 * tile_elements);
    const AttentionTile tile = tiles[blockIdx.x / static_cast<unsigned>(A)];
    const int head = static_cast<int>(blockIdx.x % static_cast<unsigned>(A));
    const unsigned lane = threadIdx.x % warp_threads;
    const int first_row = static_cast<int>(threadIdx.x) / warp_threads * 16 * groups;
    const int H = A * D, stride = 3 * H;
    // From here on row 0 is the sequence's first and column 0 the head's first.
    qkv += std::int64_t{tile.begin} * stride + head * D;
    out += std::int64_t{tile.begin} * H + head * D;
    if (logsumexp != nullptr) logsumexp += head * T + tile.begin;
    const int queries = tile.length - tile.first;  // some are behind the tile where there are more than its rows
    // A warp behind the last query copies tiles with the others and computes nothing.
    const bool works = first_row < queries;

    const auto copy_keys = [&](int first) {
        const Shared<bfloat16> to = kv + first / key_tile % 2 * 2 * tile_elements;
        const bfloat16* const from = qkv + H + first * stride;
        copy_tile<D, key_tile, threads>(to, from, stride, tile.length - first);
        copy_tile<D, key_tile, threads>(to + tile_elements, from + H, stride, tile.length - first);
        cp_async_commit();
    };
    copy_tile<D, attention_tile_rows, threads>(q, qkv + tile.first * stride, stride, queries);
    cp_async_commit();
    copy_keys(0);

    Rows<D> rows;
#pragma unroll
    for (int group = 0; group < groups; ++group) {
        rows.maximum[group][0] = rows.maximum[group][1] = -INFINITY;
        rows.sum[group][0] = rows.sum[group][1] = 0;
#pragma unroll
        for (int n = 0; n < D / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) rows.out[group][n][i] = 0;
        }
    }
    // The tile from key `first` on has arrived, for all, and nobody reads the other buffer any more: start the next
    // one.
    const auto arrived = [&](int first) {
        cp_async_wait<0>();
        __syncthreads();
        if (first + key_tile < tile.length) copy_keys(first + key_tile);
        return kv + first / key_tile % 2 * 2 * tile_elements;
    };
    const MatrixRow own = left_then_right<D>(q + first_row * D, lane);
    int first = 0;
    for (; first + key_tile <= tile.length; first += key_tile) {
        const Shared<bfloat16> k = arrived(first);
        if (works) add_tile<D, false>(rows, own, k, k + tile_elements, key_tile, log2_scale, lane);
    }
    if (first < tile.length) {
        const Shared<bfloat16> k = arrived(first);
        if (works) add_tile<D, true>(rows, own, k, k + tile_elements, tile.length - first, log2_scale, lane);
    }
    if (!works) return;
    finish<D>(rows, out + tile.first * H, H, logsumexp == nullptr ? nullptr : logsumexp + tile.first, queries, q,
              first_row, log2_scale, lane);
}

template <int D>
void forward(bfloat16* out, float* logsumexp, const bfloat16* qkv, AttentionTiles tiles, std::int64_t T, std::int64_t A,
             cudaStream_t stream) {
    check_attention_columns(A, D);
    const float log2_scale = 1.44269504088896F / std::sqrt(static_cast<float>(D));
    launch("attention_forward", attention_forward_kernel<D>, static_cast<unsigned>(tiles.count * A),
           Forward<D>::threads, Forward<D>::shared_bytes, stream, out, logsumexp, qkv, tiles.tile, T,
           static_cast<int>(A), log2_scale);
}

}  // namespace

void attention_forward(bfloat16* out, float* logsumexp, const bfloat16* qkv, AttentionTiles tiles, std::int64_t T,
                       std::int64_t A, std::int64_t D, cudaStream_t stream) {
    switch (D) {
        case 32:
            return forward<32>(out, logsumexp, qkv, tiles, T, A, stream);
        case 64:
            return forward<64>(out, logsumexp, qkv, tiles, T, A, stream);
        case 128:
            return forward<128>(out, logsumexp, qkv, tiles, T, A, stream);
        default:
            return simple_attention_forward(out, logsumexp, qkv, tiles, T, A, D, stream);
    }
}

void attention_forward(float* out, float* logsumexp, const float* qkv, AttentionTiles tiles, std::int64_t T,
                       std::int64_t A, std::int64_t D, cudaStream_t stream) {
    simple_attention_forward(out, logsumexp, qkv, tiles, T, A, D, stream);
}

}  // namespace protalbert::cuda
