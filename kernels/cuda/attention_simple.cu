// Attention without tensor cores: float32 for parity with the CPU, and head sizes other than 32, 64, 128.
//
// A block holds 16 rows (queries, or keys for the gradients of k and v) of one head and walks over the other side's
// rows 32 at a time: lane j of a warp computes the scores of the warp's four rows with row j of the tile, then the
// lanes share out the D columns of the sums. All in float32. Rows in shared memory are D + 1 or D + 2 floats apart, the
// odd one of the two, so that 32 lanes that read one column find 32 banks.

#include <cmath>

#include "base/error.hpp"
#include "kernels/cuda/attention_simple.hpp"
#include "kernels/cuda/device.cuh"

namespace protalbert::cuda {

namespace {

constexpr int rows_of_warp = 4;
constexpr int rows_of_block = 16;
constexpr int threads = rows_of_block / rows_of_warp * warp_threads;
constexpr int blocks_of_tile = static_cast<int>(attention_tile_rows) / rows_of_block;
/// Columns of a row that one lane sums: D / 32, rounded up.
constexpr int most_columns = 8;

/// Groups of four columns, the last filled up with zeros, and floats from row to row.
__host__ __device__ constexpr int fours(int D) { return (D + 3) / 4; }
__host__ __device__ constexpr int padded(int D) { return 4 * (fours(D) | 1); }

/// Floats of shared memory: own rows twice, a tile twice, weights of the warps' rows twice.
__host__ __device__ constexpr int shared_floats(int D) {
    return (2 * rows_of_block + 2 * warp_threads) * padded(D) + 2 * rows_of_block * warp_threads;
}

/// What a block has to do.
struct Task {
    std::int64_t token;  ///< of the sequence's first row
    int head, length, first;
};

__device__ __forceinline__ Task find_task(const AttentionTile* tiles, int A) {
    const unsigned part = blockIdx.x % blocks_of_tile, rest = blockIdx.x / blocks_of_tile;
    const AttentionTile tile = tiles[rest / static_cast<unsigned>(A)];
    return {tile.begin, static_cast<int>(rest % static_cast<unsigned>(A)), tile.length,
            tile.first + static_cast<int>(part) * rows_of_block};
}

/// to [rows, D], padded, from rows `stride` apart; zeros from row `valid` and from column D on.
template <class T>
__device__ void stage(Shared<float> to, const T* from, std::int64_t stride, int rows, int valid, int D) {
    const int columns = 4 * fours(D);
    for (int i = static_cast<int>(threadIdx.x); i < rows * columns; i += threads) {
        const int row = i / columns, column = i % columns;
        to[row * padded(D) + column] = row < valid && column < D ? to_float(from[row * stride + column]) : 0.0F;
    }
}

// Sums are made in parts of 16 and 32 terms: in one chain of D or L terms the errors of float32 would grow with its
// length.

/// dot[r] of own row r of the warp with row `lane` of the tile.
__device__ __forceinline__ void products(float (&dot)[rows_of_warp], Shared<float> own, Shared<float> tile, int lane,
                                         int D) {
#pragma unroll
    for (int r = 0; r < rows_of_warp; ++r) dot[r] = 0;
    constexpr int part = 4;  // groups of four
    for (int first = 0; first < fours(D); first += part) {
        float sum[rows_of_warp] = {};
        for (int i = first; i < min(first + part, fours(D)); ++i) {
            const float4 other = (tile + lane * padded(D)).as<float4>()[i];
#pragma unroll
            for (int r = 0; r < rows_of_warp; ++r) {
                const float4 x = (own + r * padded(D)).as<float4>()[i];
                sum[r] = fmaf(x.x, other.x, fmaf(x.y, other.y, fmaf(x.z, other.z, fmaf(x.w, other.w, sum[r]))));
            }
        }
#pragma unroll
        for (int r = 0; r < rows_of_warp; ++r) dot[r] += sum[r];
    }
}

/// sum[r][c] += weights [r, 32] tile [32, D] in the columns lane + 32 c.
__device__ __forceinline__ void add_products(float (&sum)[rows_of_warp][most_columns], Shared<float> weights,
                                             Shared<float> tile, int rows, int lane, int D) {
#pragma unroll
    for (int c = 0; c < most_columns; ++c) {
        const int column = lane + warp_threads * c;
        if (column >= D) break;
        float part[rows_of_warp] = {};
        // The tile's rows behind the last are zeros, like their weights.
        for (int j = 0; j < rows; j += 4) {
            float other[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) other[i] = tile[(j + i) * padded(D) + column];
#pragma unroll
            for (int r = 0; r < rows_of_warp; ++r) {
                const float4 w = (weights + (r * warp_threads + j)).as<float4>()[0];
                part[r] = fmaf(w.x, other[0], fmaf(w.y, other[1], fmaf(w.z, other[2], fmaf(w.w, other[3], part[r]))));
            }
        }
#pragma unroll
        for (int r = 0; r < rows_of_warp; ++r) sum[r][c] += part[r];
    }
}

template <class T>
__device__ __forceinline__ void store(T* to, const float (&sum)[most_columns], float factor, int lane, int D) {
#pragma unroll
    for (int c = 0; c < most_columns; ++c) {
        const int column = lane + warp_threads * c;
        if (column < D) to[column] = from_float<T>(sum[c] * factor);
    }
}

template <class T>
__global__ void __launch_bounds__(threads, 2)
    simple_forward_kernel(T* __restrict__ out, float* __restrict__ logsumexp, const T* __restrict__ qkv,
                          const AttentionTile* __restrict__ tiles, std::int64_t tokens, int A, int D, float scale) {
    const Task task = find_task(tiles, A);
    const int valid = task.length - task.first;
    if (valid <= 0) return;
    const Shared<float> q = dynamic_shared<float>(0, shared_floats(D));
    const Shared<float> k = q + rows_of_block * padded(D), v = k + warp_threads * padded(D);
    const int warp = static_cast<int>(threadIdx.x) / warp_threads, lane = static_cast<int>(threadIdx.x) % warp_threads;
    const Shared<float> weights = v + (warp_threads * padded(D) + warp * rows_of_warp * warp_threads);
    const std::int64_t H = std::int64_t{A} * D, stride = 3 * H;
    const T* const sequence = qkv + task.token * stride + std::int64_t{task.head} * D;

    stage(q, sequence + task.first * stride, stride, rows_of_block, valid, D);
    float sum[rows_of_warp][most_columns] = {}, total[rows_of_warp], largest[rows_of_warp];
#pragma unroll
    for (int r = 0; r < rows_of_warp; ++r) {
        total[r] = 0;
        largest[r] = -INFINITY;
    }
    for (int first = 0; first < task.length; first += warp_threads) {
        const int keys = min(warp_threads, task.length - first);
        __syncthreads();
        stage(k, sequence + H + first * stride, stride, warp_threads, keys, D);
        stage(v, sequence + 2 * H + first * stride, stride, warp_threads, keys, D);
        __syncthreads();
        float score[rows_of_warp];
        products(score, q + warp * rows_of_warp * padded(D), k, lane, D);
#pragma unroll
        for (int r = 0; r < rows_of_warp; ++r) {
            score[r] = lane < keys ? score[r] * scale : -INFINITY;
            const float before = largest[r];
            largest[r] = fmaxf(before, warp_max(score[r]));
            const float shrink = expf(before - largest[r]);
            const float p = lane < keys ? expf(score[r] - largest[r]) : 0.0F;
            total[r] = total[r] * shrink + warp_sum(p);
#pragma unroll
            for (int c = 0; c < most_columns; ++c) sum[r][c] *= shrink;
            weights[r * warp_threads + lane] = p;
        }
        __syncwarp();
        add_products(sum, weights, v, keys, lane, D);
    }
#pragma unroll
    for (int r = 0; r < rows_of_warp; ++r) {
        const int row = warp * rows_of_warp + r;
        if (row >= valid) break;
        const std::int64_t token = task.token + task.first + row;
        store(out + token * H + std::int64_t{task.head} * D, sum[r], 1 / total[r], lane, D);
        if (logsumexp != nullptr && lane == 0) {
            logsumexp[task.head * tokens + token] = largest[r] + logf(total[r]);
        }
    }
}

/// The gradients of q (own rows are queries, tiles hold keys), or of k and v (own rows are keys, tiles hold queries).
template <class T, bool of_keys>
__global__ void __launch_bounds__(threads, 2)
    simple_backward_kernel(T* __restrict__ dqkv, const float* __restrict__ delta, const T* __restrict__ dout,
                           const T* __restrict__ qkv, const float* __restrict__ logsumexp,
                           const AttentionTile* __restrict__ tiles, std::int64_t tokens, int A, int D, float scale) {
    const Task task = find_task(tiles, A);
    const int valid = task.length - task.first;
    if (valid <= 0) return;
    // Scores are own1 tile1^T, their gradients before the softmax's own2 tile2^T: q k^T and dout v^T, or transposed.
    const Shared<float> own1 = dynamic_shared<float>(0, shared_floats(D));
    const Shared<float> own2 = own1 + rows_of_block * padded(D), tile1 = own2 + rows_of_block * padded(D);
    const Shared<float> tile2 = tile1 + warp_threads * padded(D);
    const int warp = static_cast<int>(threadIdx.x) / warp_threads, lane = static_cast<int>(threadIdx.x) % warp_threads;
    const Shared<float> weights1 = tile2 + (warp_threads * padded(D) + warp * 2 * rows_of_warp * warp_threads);
    const Shared<float> weights2 = weights1 + rows_of_warp * warp_threads;
    const std::int64_t H = std::int64_t{A} * D, stride = 3 * H;
    const std::int64_t first_element = task.token * stride + std::int64_t{task.head} * D;
    const T *const q = qkv + first_element, *const k = q + H, *const v = k + H;
    const T* const gradient = dout + task.token * H + std::int64_t{task.head} * D;
    const float* const lse = logsumexp + task.head * tokens + task.token;
    const float* const row_delta = delta + task.head * tokens + task.token;

    stage(own1, (of_keys ? k : q) + task.first * stride, stride, rows_of_block, valid, D);
    if constexpr (of_keys) {
        stage(own2, v + task.first * stride, stride, rows_of_block, valid, D);
    } else {
        stage(own2, gradient + task.first * H, H, rows_of_block, valid, D);
    }
    float sum1[rows_of_warp][most_columns] = {}, sum2[rows_of_warp][most_columns] = {};
    for (int first = 0; first < task.length; first += warp_threads) {
        const int others = min(warp_threads, task.length - first);
        __syncthreads();
        stage(tile1, (of_keys ? q : k) + first * stride, stride, warp_threads, others, D);
        if constexpr (of_keys) {
            stage(tile2, gradient + first * H, H, warp_threads, others, D);
        } else {
            stage(tile2, v + first * stride, stride, warp_threads, others, D);
        }
        __syncthreads();
        float score[rows_of_warp], dp[rows_of_warp];
        products(score, own1 + warp * rows_of_warp * padded(D), tile1, lane, D);
        products(dp, own2 + warp * rows_of_warp * padded(D), tile2, lane, D);
#pragma unroll
        for (int r = 0; r < rows_of_warp; ++r) {
            const int own = task.first + warp * rows_of_warp + r, other = first + lane;
            const int query = of_keys ? other : own;
            const bool real = own < task.length && other < task.length;
            const float p = real ? expf(score[r] * scale - lse[query]) : 0.0F;
            weights1[r * warp_threads + lane] = real ? p * (dp[r] - row_delta[query]) : 0.0F;
            weights2[r * warp_threads + lane] = p;
        }
        __syncwarp();
        add_products(sum1, weights1, tile1, others, lane, D);
        if constexpr (of_keys) add_products(sum2, weights2, tile2, others, lane, D);
    }
#pragma unroll
    for (int r = 0; r < rows_of_warp; ++r) {
        const int row = warp * rows_of_warp + r;
        if (row >= valid) break;
        T* const to = dqkv + first_element + (task.first + row) * stride;
        store(to + (of_keys ? H : 0), sum1[r], scale, lane, D);
        if constexpr (of_keys) store(to + 2 * H, sum2[r], 1.0F, lane, D);
    }
}

float scale_of(std::int64_t D) {
    if (D > warp_threads * most_columns) {
        throw Error("attention on a GPU takes heads of at most 256 features, not " + std::to_string(D));
    }
    return 1 / std::sqrt(static_cast<float>(D));
}

unsigned blocks(AttentionTiles tiles, std::int64_t A) {
    return static_cast<unsigned>(tiles.count * A * blocks_of_tile);
}

}  // namespace

template <class T>
void simple_attention_forward(T* out, float* logsumexp, const T* qkv, AttentionTiles tiles, std::int64_t tokens,
                              std::int64_t A, std::int64_t D, cudaStream_t stream) {
    launch("simple_attention_forward", simple_forward_kernel<T>, blocks(tiles, A), threads,
           shared_floats(static_cast<int>(D)) * sizeof(float), stream, out, logsumexp, qkv, tiles.tile, tokens,
           static_cast<int>(A), static_cast<int>(D), scale_of(D));
}

template <class T>
void simple_attention_backward(T* dqkv, const float* delta, const T* dout, const T* qkv, const float* logsumexp,
                               AttentionTiles tiles, std::int64_t tokens, std::int64_t A, std::int64_t D,
                               cudaStream_t stream) {
    const std::size_t shared_bytes = shared_floats(static_cast<int>(D)) * sizeof(float);
    launch("simple_attention_backward of q", simple_backward_kernel<T, false>, blocks(tiles, A), threads, shared_bytes,
           stream, dqkv, delta, dout, qkv, logsumexp, tiles.tile, tokens, static_cast<int>(A), static_cast<int>(D),
           scale_of(D));
    launch("simple_attention_backward of k, v", simple_backward_kernel<T, true>, blocks(tiles, A), threads,
           shared_bytes, stream, dqkv, delta, dout, qkv, logsumexp, tiles.tile, tokens, static_cast<int>(A),
           static_cast<int>(D), scale_of(D));
}

template void simple_attention_forward(float*, float*, const float*, AttentionTiles, std::int64_t, std::int64_t,
                                       std::int64_t, cudaStream_t);
template void simple_attention_forward(bfloat16*, float*, const bfloat16*, AttentionTiles, std::int64_t, std::int64_t,
                                       std::int64_t, cudaStream_t);
template void simple_attention_backward(float*, const float*, const float*, const float*, const float*, AttentionTiles,
                                        std::int64_t, std::int64_t, std::int64_t, cudaStream_t);
template void simple_attention_backward(bfloat16*, const float*, const bfloat16*, const bfloat16*, const float*,
                                        AttentionTiles, std::int64_t, std::int64_t, std::int64_t, cudaStream_t);

}  // namespace protalbert::cuda
