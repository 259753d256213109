#pragma once
// Tiles of q, k, v and their like in shared memory, on their way to the tensor cores (bfloat16 alone).
//
// A row of D elements is D / 8 chunks of 16 bytes. ldmatrix reads one chunk of each of eight rows that follow each
// other, and a copy writes the chunks of one row: with rows one below the other the eight chunks of the first would all
// lie in the same four of the 32 banks of 4 bytes and wait for each other. So chunk c of row r is kept at place
// c xor (r mod 8) of its row: eight rows put the same chunk at eight places, together all 128 bytes of the banks, and
// the chunks of one row still fill it. A row of D = 32 is half as wide as the banks; two rows share them, hence
// c xor (r / 2 mod 4) there.

#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/device.cuh"

namespace protalbert::cuda {

/// Elements of a chunk.
constexpr int chunk = 8;

/// Place of a chunk in a tile of rows of D elements, in elements.
template <int D>
__device__ __forceinline__ int swizzled(int row, int chunk_of_row) {
    static_assert(D == 32 || D % 64 == 0);
    const int turn = D == 32 ? row / 2 % 4 : row % 8;
    return row * D + (chunk_of_row ^ turn) * chunk;
}

/// Starts copies of `rows` rows from `from` (rows `stride` elements apart) by all `threads` of the block; rows from
/// `valid` on become zeros.
template <int D, int rows, int threads>
__device__ __forceinline__ void copy_tile(Shared<bfloat16> to, const bfloat16* from, int stride, int valid) {
    constexpr int chunks_of_row = D / chunk;
    constexpr int rows_at_once = threads / chunks_of_row;
    static_assert(rows % rows_at_once == 0 && rows_at_once % 8 == 0);
    const int thread = opaque(static_cast<int>(threadIdx.x)), row = thread / chunks_of_row;
    const int column = thread % chunks_of_row;
    from += row * stride + column * chunk;
    to = to + swizzled<D>(row, column);
#pragma unroll
    for (int i = 0; i < rows; i += rows_at_once) {
        cp_async16(to + i * D, from, row + i < valid);
        from += rows_at_once * stride;
    }
}

/// Operand a of mma_m16n8k16: rows [row, row + 16) and columns [16 k, 16 k + 16) of a tile.
template <int D>
__device__ __forceinline__ void load_a(std::uint32_t (&a)[4], Shared<bfloat16> tile, int row, int k, int lane) {
    ldmatrix_x4(a, tile + swizzled<D>(row + lane % 16, 2 * k + lane / 16));
}

/// Operands b of two products, for x tile^T: its columns are the rows [row, row + 8) and [row + 8, row + 16) of the
/// tile, its rows the tile's columns [16 k, 16 k + 16).
template <int D>
__device__ __forceinline__ void load_b_of_rows(std::uint32_t (&b)[2][2], Shared<bfloat16> tile, int row, int k,
                                               int lane) {
    std::uint32_t both[4];
    ldmatrix_x4(both, tile + swizzled<D>(row + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
    b[0][0] = both[0];
    b[0][1] = both[1];
    b[1][0] = both[2];
    b[1][1] = both[3];
}

/// Operands b of two products, for x tile: its rows are the rows [row, row + 16) of the tile, its columns the tile's
/// columns [16 n, 16 n + 8) and [16 n + 8, 16 n + 16).
template <int D>
__device__ __forceinline__ void load_b_of_columns(std::uint32_t (&b)[2][2], Shared<bfloat16> tile, int row, int n,
                                                  int lane) {
    std::uint32_t both[4];
    ldmatrix_x4_transposed(both, tile + swizzled<D>(row + lane % 16, 2 * n + lane / 16));
    b[0][0] = both[0];
    b[0][1] = both[1];
    b[1][0] = both[2];
    b[1][1] = both[3];
}

/// Operand a of the next product from two neighbouring results of the last: a result's rows and columns are spread over
/// the lanes exactly as an operand's, so probabilities stay in registers.
__device__ __forceinline__ void pack_a(std::uint32_t (&a)[4], const float (&left)[4], const float (&right)[4]) {
    a[0] = pack_bfloat16(left[0], left[1]);
    a[1] = pack_bfloat16(left[2], left[3]);
    a[2] = pack_bfloat16(right[0], right[1]);
    a[3] = pack_bfloat16(right[2], right[3]);
}

/// A warp's results [16, D], times `factor[0]` (rows 0 to 7) or `factor[1]` (8 to 15), rounded, to global memory: by
/// way of the rows [row, row + 16) of a tile that no other warp uses, so that whole chunks leave. Only rows below
/// `valid`.
template <int D>
__device__ __forceinline__ void store_rows(bfloat16* to, int stride, int valid, Shared<bfloat16> tile, int row,
                                           const float (&result)[D / 8][4], const float (&factor)[2], int lane) {
    __syncwarp();
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const Shared<bfloat16> at = tile + (swizzled<D>(row + lane / 4 + 8 * half, n) + lane % 4 * 2);
            at.template as<std::uint32_t>()[0] =
                pack_bfloat16(result[n][2 * half] * factor[half], result[n][2 * half + 1] * factor[half]);
        }
    }
    __syncwarp();
    constexpr int chunks_of_row = D / chunk;
#pragma unroll
    for (int i = 0; i < 16 * chunks_of_row; i += warp_threads) {
        const int r = row + (i + lane) / chunks_of_row, column = (i + lane) % chunks_of_row;
        if (r >= valid) continue;
        const Shared<bfloat16> at = tile + swizzled<D>(r, column);
        const uint4 eight = at.template as<uint4>()[0];
        *reinterpret_cast<uint4*>(to + (r * stride + column * chunk)) = eight;
    }
}

}  // namespace protalbert::cuda
