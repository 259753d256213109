// Attention, backward, bfloat16: the probabilities are computed again from the scores and their logsumexp (Dao 2023,
// arXiv:2307.08691). With p = exp(score - logsumexp), dp = dout v^T and delta = sum of dout out over a row,
//   dv = p^T dout,  ds = p (dp - delta),  dk = ds^T q / sqrt D,  dq = ds k / sqrt D.
//
// Two kernels, so that every sum has one owner and one order, without atomics: dk and dv by blocks of 128 keys that
// walk over the queries, dq by blocks of 128 queries that walk over the keys. Seven products in place of five, of an
// operation that is a tenth of a step at most.
//
// In both a warp owns 16 or 32 rows and everything about them. The first kernel computes transposed scores k q^T: then
// p and ds lie in the registers just as the operand a of p^T dout and ds^T q wants them. What is walked over comes by
// tiles of 64 rows, double buffered, one barrier a tile, and is used in parts of 32 rows: two parts' scores would not
// fit the registers.
//
// On an H200 188 TFLOP/s at length 512 and 213 at 2048 (FLOPs of four products, the model's; tests/gpu/measured.md).

#include <cmath>

#include "kernels/cuda/attention_simple.hpp"
#include "kernels/cuda/attention_tile.cuh"

namespace protalbert::cuda {

namespace {

/// Rows of a tile that is walked over, and of a part of it.
constexpr int walk_tile = 64;
constexpr int part_rows = 32;
constexpr float log2_e = 1.44269504088896F;

template <int D>
struct Backward {
    /// Groups of 16 rows of a warp: two where the registers allow it, as in the forward pass.
    static constexpr int groups = D <= 64 ? 2 : 1;
    static constexpr int threads = static_cast<int>(attention_tile_rows) / (16 * groups) * warp_threads;
    static constexpr int blocks = D <= 64 ? 2 : 1;
    static constexpr int own_elements = static_cast<int>(attention_tile_rows) * D;
    static constexpr int tile_elements = walk_tile * D;
    /// Two tiles of own rows, two buffers of two tiles to walk over.
    static constexpr int tiles_bytes = (2 * own_elements + 4 * tile_elements) * static_cast<int>(sizeof(bfloat16));
    /// Two buffers of logsumexp and delta of a tile's queries (dk and dv alone).
    static constexpr int statistics_bytes = 4 * walk_tile * static_cast<int>(sizeof(float));
};

template <int groups, int columns>
__device__ __forceinline__ void set_zero(float (&sums)[groups][columns][4]) {
#pragma unroll
    for (int group = 0; group < groups; ++group) {
#pragma unroll
        for (int n = 0; n < columns; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) sums[group][n][i] = 0;
        }
    }
}

/// delta [A, T] = sums of dout out over a head's D columns. D / 8 lanes a sum, 16 bytes of both each.
template <int D>
__global__ void attention_delta_kernel(float* __restrict__ delta, const bfloat16* __restrict__ dout /*[T, H]*/,
                                       const bfloat16* __restrict__ out /*[T, H]*/, std::int64_t T, int A) {
    constexpr int lanes = D / chunk;
    const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;  // number of the 16 bytes
    const std::int64_t row = i / lanes;                                          // number of token and head
    float sum = 0;
    if (row < T * A) {
        const uint4 x = reinterpret_cast<const uint4*>(dout)[i];
        const uint4 y = reinterpret_cast<const uint4*>(out)[i];
        const std::uint32_t pairs_x[4] = {x.x, x.y, x.z, x.w}, pairs_y[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
        for (int pair = 0; pair < 4; ++pair) {
            const float2 a = unpack_bfloat16(pairs_x[pair]), b = unpack_bfloat16(pairs_y[pair]);
            sum = fmaf(a.x, b.x, fmaf(a.y, b.y, sum));
        }
    }
#pragma unroll
    for (int distance = lanes / 2; distance > 0; distance /= 2) {
        sum += __shfl_xor_sync(all_lanes, sum, distance);
    }
    if (row < T * A && threadIdx.x % lanes == 0) delta[row % A * T + row / A] = sum;
}

/// delta of any head size and type: a warp a sum.
template <class Element>
__global__ void simple_delta_kernel(float* __restrict__ delta, const Element* __restrict__ dout,
                                    const Element* __restrict__ out, std::int64_t T, int A, int D) {
    const std::int64_t row = std::int64_t{blockIdx.x} * (blockDim.x / warp_threads) + threadIdx.x / warp_threads;
    const int lane = static_cast<int>(threadIdx.x) % warp_threads;
    if (row >= T * A) return;
    float sum = 0;
    for (int d = lane; d < D; d += warp_threads) {
        sum = fmaf(to_float(dout[row * D + d]), to_float(out[row * D + d]), sum);
    }
    sum = warp_sum(sum);
    if (lane == 0) delta[row % A * T + row / A] = sum;
}

/// dk and dv of a warp's keys += what 32 queries add. `own`: the keys' rows of k (left_then_right), v a tile behind
/// them. `q`: the queries' rows of q, dout a tile behind them.
template <int D>
__device__ __forceinline__ void add_queries(float (&dk)[Backward<D>::groups][D / 8][4],
                                            float (&dv)[Backward<D>::groups][D / 8][4], MatrixRow own,
                                            Shared<bfloat16> q, Shared<float> logsumexp, Shared<float> delta,
                                            float log2_scale, unsigned lane) {
    constexpr int groups = Backward<D>::groups;
    constexpr int v = static_cast<int>(attention_tile_rows), dout = walk_tile;  // their first rows, from k's and q's
    // Addresses are quicker computed again for each part than kept.
    own = opaque(own);
    lane = opaque(lane);
    const MatrixRow queries = upper_then_lower<D>(q, lane), query_columns = left_then_right<D>(q, lane);
    float p[groups][part_rows / 8][4] = {}, ds[groups][part_rows / 8][4] = {};  // transposed: rows are keys
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
        std::uint32_t a[groups][4], b[2][2];
#pragma unroll
        for (int group = 0; group < groups; ++group) load_a<D>(a[group], own, 16 * group, step);
#pragma unroll
        for (int n = 0; n < part_rows / 16; ++n) {
            load_b_of_rows<D>(b, queries, 16 * n, step);
#pragma unroll
            for (int group = 0; group < groups; ++group) {
                mma_m16n8k16(p[group][2 * n], a[group], b[0]);
                mma_m16n8k16(p[group][2 * n + 1], a[group], b[1]);
            }
        }
#pragma unroll
        for (int group = 0; group < groups; ++group) load_a<D>(a[group], own, v + 16 * group, step);
#pragma unroll
        for (int n = 0; n < part_rows / 16; ++n) {
            load_b_of_rows<D>(b, queries, dout + 16 * n, step);
#pragma unroll
            for (int group = 0; group < groups; ++group) {
                mma_m16n8k16(ds[group][2 * n], a[group], b[0]);
                mma_m16n8k16(ds[group][2 * n + 1], a[group], b[1]);
            }
        }
    }
    // Queries behind the last have zeros everywhere: p = 1 and ds = 0, times rows of zeros.
#pragma unroll
    for (int n = 0; n < part_rows / 8; ++n) {
        const int column = 8 * n + static_cast<int>(lane % 4) * 2;
        const float2 lse = (logsumexp + column).template as<float2>()[0];
        const float2 row_delta = (delta + column).template as<float2>()[0];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const float shift = (i % 2 == 0 ? lse.x : lse.y) * log2_e;
#pragma unroll
            for (int group = 0; group < groups; ++group) {
                p[group][n][i] = exp2_approximate(fmaf(p[group][n][i], log2_scale, -shift));
                ds[group][n][i] = p[group][n][i] * (ds[group][n][i] - (i % 2 == 0 ? row_delta.x : row_delta.y));
            }
        }
    }
#pragma unroll
    for (int step = 0; step < part_rows / 16; ++step) {
        std::uint32_t a[groups][4], b[2][2];
#pragma unroll
        for (int group = 0; group < groups; ++group) pack_a(a[group], p[group][2 * step], p[group][2 * step + 1]);
#pragma unroll
        for (int n = 0; n < D / 16; ++n) {
            load_b_of_columns<D>(b, query_columns, dout + 16 * step, n);
#pragma unroll
            for (int group = 0; group < groups; ++group) {
                mma_m16n8k16(dv[group][2 * n], a[group], b[0]);
                mma_m16n8k16(dv[group][2 * n + 1], a[group], b[1]);
            }
        }
#pragma unroll
        for (int group = 0; group < groups; ++group) pack_a(a[group], ds[group][2 * step], ds[group][2 * step + 1]);
#pragma unroll
        for (int n = 0; n < D / 16; ++n) {
            load_b_of_columns<D>(b, query_columns, 16 * step, n);
#pragma unroll
            for (int group = 0; group < groups; ++group) {
                mma_m16n8k16(dk[group][2 * n], a[group], b[0]);
                mma_m16n8k16(dk[group][2 * n + 1], a[group], b[1]);
            }
        }
    }
}

/// Grid: tile by tile, the heads of each side by side. `scale`: 1 / sqrt D.
template <int D>
__global__ void __launch_bounds__(Backward<D>::threads, Backward<D>::blocks)
    attention_backward_kv_kernel(bfloat16* __restrict__ dqkv /*[T, 3H]*/, const float* __restrict__ delta /*[A, T]*/,
                                 const bfloat16* __restrict__ dout /*[T, H]*/,
                                 const bfloat16* __restrict__ qkv /*[T, 3H]*/,
                                 const float* __restrict__ logsumexp /*[A, T]*/,
                                 const AttentionTile* __restrict__ tiles, std::int64_t T, int A, float scale) {
    constexpr int groups = Backward<D>::groups, threads = Backward<D>::threads;
    constexpr int own_elements = Backward<D>::own_elements, tile_elements = Backward<D>::tile_elements;
    const Shared<bfloat16> k = dynamic_shared<bfloat16>(0, 2 * own_elements + 4 * tile_elements);
    const Shared<bfloat16> v = k + own_elements, walk = v + own_elements;
    const Shared<float> statistics = dynamic_shared<float>(Backward<D>::tiles_bytes, 4 * walk_tile);
    const AttentionTile tile = tiles[blockIdx.x / static_cast<unsigned>(A)];
    const int head = static_cast<int>(blockIdx.x % static_cast<unsigned>(A));
    const int H = A * D, stride = 3 * H;
    // From here on row 0 is the sequence's first and column 0 the head's first.
    qkv += std::int64_t{tile.begin} * stride + head * D;
    dqkv += std::int64_t{tile.begin} * stride + head * D;
    dout += std::int64_t{tile.begin} * H + head * D;
    logsumexp += head * T + tile.begin;
    delta += head * T + tile.begin;
    const int thread = static_cast<int>(threadIdx.x);
    const unsigned lane = threadIdx.x % warp_threads;
    const int first_key = thread / warp_threads * 16 * groups;
    const int keys = tile.length - tile.first;
    const bool works = first_key < keys;

    const auto copy_queries = [&](int first) {
        const int buffer = first / walk_tile % 2, valid = tile.length - first;
        const Shared<bfloat16> to = walk + buffer * 2 * tile_elements;
        copy_tile<D, walk_tile, threads>(to, qkv + first * stride, stride, valid);
        copy_tile<D, walk_tile, threads>(to + tile_elements, dout + first * H, H, valid);
        if (thread < 2 * walk_tile) {
            const int row = thread % walk_tile;
            const float* const from = thread < walk_tile ? logsumexp : delta;
            cp_async4(statistics + (buffer * 2 * walk_tile + thread), from + first + row, row < valid);
        }
        cp_async_commit();
    };
    const bfloat16* const from = qkv + H + tile.first * stride;
    copy_tile<D, attention_tile_rows, threads>(k, from, stride, keys);
    copy_tile<D, attention_tile_rows, threads>(v, from + H, stride, keys);
    copy_queries(0);

    const MatrixRow own = left_then_right<D>(k + first_key * D, lane);
    float dk[groups][D / 8][4], dv[groups][D / 8][4];
    set_zero(dk);
    set_zero(dv);
    for (int first = 0; first < tile.length; first += walk_tile) {
        cp_async_wait<0>();
        __syncthreads();
        if (first + walk_tile < tile.length) copy_queries(first + walk_tile);
        if (!works) continue;
        const int buffer = first / walk_tile % 2;
        const Shared<bfloat16> q = walk + buffer * 2 * tile_elements;
        const Shared<float> lse = statistics + buffer * 2 * walk_tile;
#pragma unroll 1
        for (int part = 0; part < walk_tile && first + part < tile.length; part += part_rows) {
            add_queries<D>(dk, dv, own, q + part * D, lse + part, lse + (walk_tile + part), scale * log2_e, lane);
        }
    }
    if (!works) return;
    bfloat16* const to = dqkv + H + tile.first * stride;
#pragma unroll
    for (int group = 0; group < groups; ++group) {
        store_rows<D>(to, stride, keys, k, first_key + 16 * group, dk[group], {scale, scale}, lane);
        store_rows<D>(to + H, stride, keys, v, first_key + 16 * group, dv[group], {1, 1}, lane);
    }
}

/// dq of a warp's queries += what 32 keys add, of which `valid` are the sequence's (all where it is more). `k`: the
/// keys' rows of k, v a tile behind them.
template <int D>
__device__ __forceinline__ void add_keys(float (&dq)[Backward<D>::groups][D / 8][4],
                                         const std::uint32_t (&q)[Backward<D>::groups][D / 16][4],
                                         const std::uint32_t (&dout)[Backward<D>::groups][D / 16][4],
                                         const float (&shift)[Backward<D>::groups][2],
                                         const float (&delta)[Backward<D>::groups][2], Shared<bfloat16> k, int valid,
                                         float log2_scale, unsigned lane) {
    constexpr int groups = Backward<D>::groups;
    constexpr int v = walk_tile;  // its first row, from k's
    const MatrixRow keys = upper_then_lower<D>(k, lane), key_columns = left_then_right<D>(k, lane);
    float p[groups][part_rows / 8][4] = {}, ds[groups][part_rows / 8][4] = {};
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
#pragma unroll
        for (int n = 0; n < part_rows / 16; ++n) {
            std::uint32_t b[2][2];
            load_b_of_rows<D>(b, keys, 16 * n, step);
#pragma unroll
            for (int group = 0; group < groups; ++group) {
                mma_m16n8k16(p[group][2 * n], q[group][step], b[0]);
                mma_m16n8k16(p[group][2 * n + 1], q[group][step], b[1]);
            }
            load_b_of_rows<D>(b, keys, v + 16 * n, step);
#pragma unroll
            for (int group = 0; group < groups; ++group) {
                mma_m16n8k16(ds[group][2 * n], dout[group][step], b[0]);
                mma_m16n8k16(ds[group][2 * n + 1], dout[group][step], b[1]);
            }
        }
    }
    if (part_rows > valid) {
        // Scores with rows of zeros are zero, which is no small number beside a negative logsumexp.
#pragma unroll
        for (int n = 0; n < part_rows / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                if (8 * n + static_cast<int>(lane % 4) * 2 + i % 2 < valid) continue;
#pragma unroll
                for (int group = 0; group < groups; ++group) p[group][n][i] = -INFINITY;
            }
        }
    }
#pragma unroll
    for (int group = 0; group < groups; ++group) {
#pragma unroll
        for (int n = 0; n < part_rows / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float probability = exp2_approximate(fmaf(p[group][n][i], log2_scale, -shift[group][i / 2]));
                ds[group][n][i] = probability * (ds[group][n][i] - delta[group][i / 2]);
            }
        }
    }
#pragma unroll
    for (int step = 0; step < part_rows / 16; ++step) {
        std::uint32_t a[groups][4], b[2][2];
#pragma unroll
        for (int group = 0; group < groups; ++group) pack_a(a[group], ds[group][2 * step], ds[group][2 * step + 1]);
#pragma unroll
        for (int n = 0; n < D / 16; ++n) {
            load_b_of_columns<D>(b, key_columns, 16 * step, n);
#pragma unroll
            for (int group = 0; group < groups; ++group) {
                mma_m16n8k16(dq[group][2 * n], a[group], b[0]);
                mma_m16n8k16(dq[group][2 * n + 1], a[group], b[1]);
            }
        }
    }
}

template <int D>
__global__ void __launch_bounds__(Backward<D>::threads, Backward<D>::blocks)
    attention_backward_q_kernel(bfloat16* __restrict__ dqkv /*[T, 3H]*/, const float* __restrict__ delta /*[A, T]*/,
                                const bfloat16* __restrict__ dout /*[T, H]*/,
                                const bfloat16* __restrict__ qkv /*[T, 3H]*/,
                                const float* __restrict__ logsumexp /*[A, T]*/, const AttentionTile* __restrict__ tiles,
                                std::int64_t T, int A, float scale) {
    constexpr int groups = Backward<D>::groups, threads = Backward<D>::threads;
    constexpr int own_elements = Backward<D>::own_elements, tile_elements = Backward<D>::tile_elements;
    const Shared<bfloat16> own_q = dynamic_shared<bfloat16>(0, 2 * own_elements + 4 * tile_elements);
    const Shared<bfloat16> own_dout = own_q + own_elements, walk = own_dout + own_elements;
    const AttentionTile tile = tiles[blockIdx.x / static_cast<unsigned>(A)];
    const int head = static_cast<int>(blockIdx.x % static_cast<unsigned>(A));
    const int H = A * D, stride = 3 * H;
    // From here on row 0 is the sequence's first and column 0 the head's first.
    qkv += std::int64_t{tile.begin} * stride + head * D;
    dqkv += std::int64_t{tile.begin} * stride + head * D;
    dout += std::int64_t{tile.begin} * H + head * D;
    logsumexp += head * T + tile.begin;
    delta += head * T + tile.begin;
    const unsigned lane = threadIdx.x % warp_threads;
    const int first_query = static_cast<int>(threadIdx.x) / warp_threads * 16 * groups;
    const int queries = tile.length - tile.first;
    const bool works = first_query < queries;

    const auto copy_keys = [&](int first) {
        const Shared<bfloat16> to = walk + first / walk_tile % 2 * 2 * tile_elements;
        const bfloat16* const from = qkv + H + first * stride;
        copy_tile<D, walk_tile, threads>(to, from, stride, tile.length - first);
        copy_tile<D, walk_tile, threads>(to + tile_elements, from + H, stride, tile.length - first);
        cp_async_commit();
    };
    copy_tile<D, attention_tile_rows, threads>(own_q, qkv + tile.first * stride, stride, queries);
    copy_tile<D, attention_tile_rows, threads>(own_dout, dout + tile.first * H, H, queries);
    cp_async_commit();
    copy_keys(0);

    float shift[groups][2], row_delta[groups][2];
#pragma unroll
    for (int group = 0; group < groups; ++group) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = first_query + 16 * group + 8 * half + static_cast<int>(lane / 4);
            shift[group][half] = row < queries ? logsumexp[tile.first + row] * log2_e : 0.0F;
            row_delta[group][half] = row < queries ? delta[tile.first + row] : 0.0F;
        }
    }
    cp_async_wait<1>();
    __syncthreads();
    const MatrixRow own = left_then_right<D>(own_q + first_query * D, lane);
    std::uint32_t q[groups][D / 16][4], gradient[groups][D / 16][4];
#pragma unroll
    for (int group = 0; group < groups; ++group) {
#pragma unroll
        for (int step = 0; step < D / 16; ++step) {
            load_a<D>(q[group][step], own, 16 * group, step);
            load_a<D>(gradient[group][step], own, static_cast<int>(attention_tile_rows) + 16 * group, step);
        }
    }
    float dq[groups][D / 8][4];
    set_zero(dq);
    for (int first = 0; first < tile.length; first += walk_tile) {
        cp_async_wait<0>();
        __syncthreads();
        if (first + walk_tile < tile.length) copy_keys(first + walk_tile);
        if (!works) continue;
        const Shared<bfloat16> k = walk + first / walk_tile % 2 * 2 * tile_elements;
#pragma unroll 1
        for (int part = 0; part < walk_tile && first + part < tile.length; part += part_rows) {
            add_keys<D>(dq, q, gradient, shift, row_delta, k + part * D, tile.length - first - part, scale * log2_e,
                        lane);
        }
    }
    if (!works) return;
    bfloat16* const to = dqkv + tile.first * stride;
#pragma unroll
    for (int group = 0; group < groups; ++group) {
        store_rows<D>(to, stride, queries, own_q, first_query + 16 * group, dq[group], {scale, scale}, lane);
    }
}

template <int D>
void backward(bfloat16* dqkv, float* delta, const bfloat16* dout, const bfloat16* out, const bfloat16* qkv,
              const float* logsumexp, AttentionTiles tiles, std::int64_t T, std::int64_t A, cudaStream_t stream) {
    check_attention_columns(A, D);
    constexpr int delta_threads = 256;
    const std::int64_t pieces = T * A * (D / chunk);
    launch("attention_delta", attention_delta_kernel<D>,
           static_cast<unsigned>((pieces + delta_threads - 1) / delta_threads), delta_threads, 0, stream, delta, dout,
           out, T, static_cast<int>(A));
    const auto grid = static_cast<unsigned>(tiles.count * A);
    const float scale = 1 / std::sqrt(static_cast<float>(D));
    launch("attention_backward of k, v", attention_backward_kv_kernel<D>, grid, Backward<D>::threads,
           Backward<D>::tiles_bytes + Backward<D>::statistics_bytes, stream, dqkv, delta, dout, qkv, logsumexp,
           tiles.tile, T, static_cast<int>(A), scale);
    launch("attention_backward of q", attention_backward_q_kernel<D>, grid, Backward<D>::threads,
           Backward<D>::tiles_bytes, stream, dqkv, delta, dout, qkv, logsumexp, tiles.tile, T, static_cast<int>(A),
           scale);
}

template <class Element>
void simple_backward(Element* dqkv, float* delta, const Element* dout, const Element* out, const Element* qkv,
                     const float* logsumexp, AttentionTiles tiles, std::int64_t T, std::int64_t A, std::int64_t D,
                     cudaStream_t stream) {
    constexpr int warps = 4;
    launch("simple_attention_delta", simple_delta_kernel<Element>, static_cast<unsigned>((T * A + warps - 1) / warps),
           warps * warp_threads, 0, stream, delta, dout, out, T, static_cast<int>(A), static_cast<int>(D));
    simple_attention_backward(dqkv, delta, dout, qkv, logsumexp, tiles, T, A, D, stream);
}

}  // namespace

void attention_backward(bfloat16* dqkv, float* delta, const bfloat16* dout, const bfloat16* out, const bfloat16* qkv,
                        const float* logsumexp, AttentionTiles tiles, std::int64_t T, std::int64_t A, std::int64_t D,
                        cudaStream_t stream) {
    switch (D) {
        case 32:
            return backward<32>(dqkv, delta, dout, out, qkv, logsumexp, tiles, T, A, stream);
        case 64:
            return backward<64>(dqkv, delta, dout, out, qkv, logsumexp, tiles, T, A, stream);
        case 128:
            return backward<128>(dqkv, delta, dout, out, qkv, logsumexp, tiles, T, A, stream);
        default:
            return simple_backward(dqkv, delta, dout, out, qkv, logsumexp, tiles, T, A, D, stream);
    }
}

void attention_backward(float* dqkv, float* delta, const float* dout, const float* out, const float* qkv,
                        const float* logsumexp, AttentionTiles tiles, std::int64_t T, std::int64_t A, std::int64_t D,
                        cudaStream_t stream) {
    simple_backward(dqkv, delta, dout, out, qkv, logsumexp, tiles, T, A, D, stream);
}

}  // namespace protalbert::cuda
