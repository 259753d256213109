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
__device__ __forceinline__ unsigned swizzled(unsigned row, unsigned chunk_of_row) {
    static_assert(D == 32 || D % 64 == 0);
    const unsigned turn = D == 32 ? row / 2 % 4 : row % 8;
    return row * D + (chunk_of_row ^ turn) * chunk;
}

/// Starts copies of `rows` rows from `from` (rows `stride` elements apart) by all `threads` of the block; rows from
/// `valid` on become zeros.
template <int D, int rows, int threads>
__device__ __forceinline__ void copy_tile(Shared<bfloat16> to, const bfloat16* from, int stride, int valid) {
    constexpr int chunks_of_row = D / chunk;
    constexpr int rows_at_once = threads / chunks_of_row;
    static_assert(rows % rows_at_once == 0 && rows_at_once % 8 == 0);
    const unsigned thread = opaque(threadIdx.x), row = thread / chunks_of_row, column = thread % chunks_of_row;
    from += static_cast<int>(row) * stride + static_cast<int>(column) * chunk;
    to = to + static_cast<int>(swizzled<D>(row, column));
#pragma unroll
    for (int i = 0; i < rows; i += rows_at_once) {
        cp_async16(to + i * D, from, static_cast<int>(row) + i < valid);
        from += rows_at_once * stride;
    }
}

/// Where a lane finds its chunk of the first 16 rows and 16 columns of a tile, by the order in which ldmatrix_x4 is to
/// load their four matrices: 16 rows of the left chunks and then of the right ones, or 8 rows of the left, of the
/// right, and then the other 8. The swizzle is a xor: the chunk of other columns is one xor with a constant away, that
/// of other rows (a multiple of 16, which leaves the swizzle as it is) a constant that the instruction adds. For that a
/// tile must be aligned to its rows.
template <int D>
__device__ __forceinline__ MatrixRow left_then_right(Shared<bfloat16> tile, unsigned lane) {
    return tile + static_cast<int>(swizzled<D>(lane % 16, lane / 16));
}
template <int D>
__device__ __forceinline__ MatrixRow upper_then_lower(Shared<bfloat16> tile, unsigned lane) {
    return tile + static_cast<int>(swizzled<D>(lane % 8 + lane / 16 * 8, lane / 8 % 2));
}

/// Operand a of mma_m16n8k16: rows [row, row + 16) and columns [16 k, 16 k + 16) of a tile (left_then_right).
template <int D>
__device__ __forceinline__ void load_a(std::uint32_t (&a)[4], MatrixRow tile, int row, int k) {
    ldmatrix_x4(a, (tile ^ 16 * k) + row * D);
}

/// Operands b of two products, for x tile^T: its columns are the rows [row, row + 8) and [row + 8, row + 16) of the
/// tile (upper_then_lower), its rows the tile's columns [16 k, 16 k + 16).
template <int D>
__device__ __forceinline__ void load_b_of_rows(std::uint32_t (&b)[2][2], MatrixRow tile, int row, int k) {
    std::uint32_t both[4];
    ldmatrix_x4(both, (tile ^ 16 * k) + row * D);
    b[0][0] = both[0];
    b[0][1] = both[1];
    b[1][0] = both[2];
    b[1][1] = both[3];
}

/// Operands b of two products, for x tile: its rows are the rows [row, row + 16) of the tile (left_then_right), its
/// columns the tile's columns [16 n, 16 n + 8) and [16 n + 8, 16 n + 16).
template <int D>
__device__ __forceinline__ void load_b_of_columns(std::uint32_t (&b)[2][2], MatrixRow tile, int row, int n) {
    std::uint32_t both[4];
    ldmatrix_x4_transposed(both, (tile ^ 16 * n) + row * D);
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
                                           const float (&result)[D / 8][4], const float (&factor)[2], unsigned lane) {
    const unsigned place = swizzled<D>(lane / 4, 0) + lane % 4 * 2;
    __syncwarp();
#pragma unroll
    for (unsigned n = 0; n < D / 8; ++n) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const Shared<bfloat16> at = tile + ((row + 8 * half) * D + static_cast<int>(place ^ chunk * n));
            at.template as<std::uint32_t>()[0] =
                pack_bfloat16(result[n][2 * half] * factor[half], result[n][2 * half + 1] * factor[half]);
        }
    }
    __syncwarp();
    constexpr unsigned chunks_of_row = D / chunk;
#pragma unroll
    for (unsigned i = 0; i < 16 * chunks_of_row; i += warp_threads) {
        const unsigned r = (i + lane) / chunks_of_row, column = lane % chunks_of_row;
        const int global_row = row + static_cast<int>(r);
        if (global_row >= valid) continue;
        const Shared<bfloat16> at = tile + (row * D + static_cast<int>(swizzled<D>(r, column)));
        const uint4 eight = at.template as<uint4>()[0];
        *reinterpret_cast<uint4*>(to + (global_row * stride + static_cast<int>(column) * chunk)) = eight;
    }
}

}  // namespace protalbert::cuda
