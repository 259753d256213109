// The emulated instructions of kernels/cuda/instructions.cuh against the PTX manual: fragments by the manual's formulae
// for each element, products of small integers, which are exact.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "kernels/cuda/attention_tile.cuh"
#include "tests/emulation/device_array.hpp"

namespace protalbert::cuda {
namespace {

using emulation::DeviceArray;
using testing::HasSubstr;

/// Small integers: their products and sums are exact in every format here.
std::vector<bfloat16> small_integers(int n, unsigned seed) {
    std::mt19937 generator(seed);
    std::vector<bfloat16> values;
    for (int i = 0; i < n; ++i) values.emplace_back(static_cast<float>(static_cast<int>(generator() % 17) - 8));
    return values;
}

/// c [M, N] = a [M, K] b, or b^T of b [N, K].
std::vector<float> product(const std::vector<bfloat16>& a, const std::vector<bfloat16>& b, int M, int N, int K,
                           bool transposed) {
    std::vector<float> c;
    for (int m = 0; m < M; ++m) {
        for (int n = 0; n < N; ++n) {
            float sum = 0;
            for (int k = 0; k < K; ++k) {
                const int of_b = transposed ? n * K + k : k * N + n;
                sum += to_float(a[static_cast<std::size_t>(m * K + k)]) * to_float(b[static_cast<std::size_t>(of_b)]);
            }
            c.push_back(sum);
        }
    }
    return c;
}

std::uint32_t pair(bfloat16 low, bfloat16 high) { return low.bits | std::uint32_t{high.bits} << 16; }

enum class Mistake { none, a_registers_swapped, b_rows_shifted, c_rows_swapped };

/// Section "Matrix Fragments for mma.m16n8k16", floating-point types: groupID = lane >> 2, threadID_in_group = lane %
/// 4, a_i: row groupID for 0 <= i < 2 and 4 <= i < 6, else groupID + 8; column 2 threadID_in_group + (i & 1), + 8 for i
/// >= 4; b_i: row 2 threadID_in_group + (i & 1), + 8 for i >= 2; column groupID; c_i: row groupID for i < 2, else
/// groupID + 8; column 2 threadID_in_group + (i & 1).
template <Mistake mistake>
__global__ void multiply(float* c, const bfloat16* a /*[16, 16]*/, const bfloat16* b /*[16, 8]*/) {
    const int lane = static_cast<int>(threadIdx.x), group = lane >> 2, member = lane % 4;
    std::uint32_t of_a[4], of_b[2];
    for (int i = 0; i < 8; i += 2) {
        const bool upper = i < 2 || (i >= 4 && i < 6);
        const int row = upper ? group : group + 8, column = 2 * member + (i >= 4 ? 8 : 0);
        of_a[i / 2] = pair(a[16 * row + column], a[16 * row + column + 1]);
    }
    for (int i = 0; i < 4; i += 2) {
        const int row = (2 * member + (i >= 2 ? 8 : 0) + (mistake == Mistake::b_rows_shifted ? 1 : 0)) % 15;
        of_b[i / 2] = pair(b[8 * row + group], b[8 * (row + 1) + group]);
    }
    if (mistake == Mistake::a_registers_swapped) std::swap(of_a[1], of_a[2]);
    float of_c[4] = {1, 1, 1, 1};
    mma_m16n8k16(of_c, of_a, of_b);
    for (int i = 0; i < 4; ++i) {
        const int row = (i < 2) == (mistake != Mistake::c_rows_swapped) ? group : group + 8;
        c[8 * row + 2 * member + (i & 1)] = of_c[i] - 1;
    }
}

TEST(EmulatedInstructions, MmaMultipliesAsTheManualLaysItOut) {
    const std::vector<bfloat16> a = small_integers(256, 1), b = small_integers(128, 2);
    const DeviceArray<bfloat16> on_a(a), on_b(b);
    const DeviceArray<float> c(128);
    const std::vector<float> want = product(a, b, 16, 8, 16, false);
    const auto run = [&](auto kernel) {
        launch("multiply", kernel, 1, 32, 0, nullptr, c.device(), on_a.device(), on_b.device());
        return c.host();
    };
    EXPECT_EQ(run(multiply<Mistake::none>), want);
    EXPECT_NE(run(multiply<Mistake::a_registers_swapped>), want);
    EXPECT_NE(run(multiply<Mistake::b_rows_shifted>), want);
    EXPECT_NE(run(multiply<Mistake::c_rows_swapped>), want);
}

/// Section "ldmatrix": thread T of the warp receives of each matrix row T / 4, elements 2 (T % 4) and 2 (T % 4) + 1;
/// with .trans, column T / 4.
__global__ void load_matrices(std::uint32_t* out /*[3, 32, 4]*/, int skew) {
    SHARED_ARRAY(std::uint16_t, elements, 4 * 64 + 8);
    const int lane = static_cast<int>(threadIdx.x);
    for (int i = lane; i < 4 * 64; i += 32) elements[i] = static_cast<std::uint16_t>(i);
    __syncwarp();
    // Matrix lane / 8, row lane % 8, one below the other.
    const Shared<bfloat16> row = elements.as<bfloat16>() + (8 * lane + skew);
    std::uint32_t to[3][4] = {};
    ldmatrix_x4(to[0], row);
    ldmatrix_x4_transposed(to[1], row);
    std::uint32_t two[2];
    ldmatrix_x2(two, row);
    to[2][0] = two[0];
    to[2][1] = two[1];
    for (int kind = 0; kind < 3; ++kind) {
        for (int i = 0; i < 4; ++i) out[kind * 128 + 4 * lane + i] = to[kind][i];
    }
}

TEST(EmulatedInstructions, LdmatrixLoadsAsTheManualLaysItOut) {
    const DeviceArray<std::uint32_t> out(384);
    launch("load_matrices", load_matrices, 1, 32, 0, nullptr, out.device(), 0);
    const std::vector<std::uint32_t> got = out.host();
    for (std::uint32_t lane = 0; lane < 32; ++lane) {
        for (std::uint32_t matrix = 0; matrix < 4; ++matrix) {
            const std::uint32_t major = lane / 4, minor = 2 * (lane % 4), first = 64 * matrix;
            const std::uint32_t straight = (first + 8 * major + minor) | (first + 8 * major + minor + 1) << 16;
            const std::uint32_t turned = (first + 8 * minor + major) | (first + 8 * (minor + 1) + major) << 16;
            EXPECT_EQ(got[4 * lane + matrix], straight);
            EXPECT_EQ(got[128 + 4 * lane + matrix], turned);
            EXPECT_EQ(got[256 + 4 * lane + matrix], matrix < 2 ? straight : 0U);
        }
    }
    EXPECT_THROW(launch("load_matrices", load_matrices, 1, 32, 0, nullptr, out.device(), 4), emulation::Error)
        << "rows are aligned to 16 bytes";
    EXPECT_THROW(launch("load_matrices", load_matrices, 1, 32, 0, nullptr, out.device(), 16), emulation::Error)
        << "the last row is out of bounds";
}

/// Attention's loads of operands: c [16, 16] = a [16, D] b [16, D]^T, and e [16, D] = a's first 16 columns times b.
template <int D>
__global__ void multiply_tiles(float* c, float* e, const bfloat16* a, const bfloat16* b) {
    SHARED_ARRAY(bfloat16, tile_a, 16 * D);
    SHARED_ARRAY(bfloat16, tile_b, 16 * D);
    const unsigned lane = threadIdx.x % 32;
    copy_tile<D, 16, 8 * D / chunk>(tile_a, a, D, 16);
    copy_tile<D, 16, 8 * D / chunk>(tile_b, b, D, 16);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    if (threadIdx.x >= 32) return;
    const MatrixRow rows_a = left_then_right<D>(tile_a, lane), rows_b = upper_then_lower<D>(tile_b, lane);
    const MatrixRow columns_b = left_then_right<D>(tile_b, lane);
    float sums[2][4] = {}, columns[D / 8][4] = {};
    std::uint32_t of_a[4], of_b[2][2];
    for (int k = 0; k < D / 16; ++k) {
        load_a<D>(of_a, rows_a, 0, k);
        load_b_of_rows<D>(of_b, rows_b, 0, k);
        for (int n = 0; n < 2; ++n) mma_m16n8k16(sums[n], of_a, of_b[n]);
    }
    load_a<D>(of_a, rows_a, 0, 0);
    for (int n = 0; n < D / 16; ++n) {
        load_b_of_columns<D>(of_b, columns_b, 0, n);
        for (int half = 0; half < 2; ++half) mma_m16n8k16(columns[2 * n + half], of_a, of_b[half]);
    }
    for (int i = 0; i < 4; ++i) {
        const int row = static_cast<int>(lane / 4) + i / 2 * 8, column = static_cast<int>(lane % 4) * 2 + i % 2;
        for (int n = 0; n < 2; ++n) c[16 * row + 8 * n + column] = sums[n][i];
        for (int n = 0; n < D / 8; ++n) e[D * row + 8 * n + column] = columns[n][i];
    }
}

template <int D>
void check_tiles() {
    const std::vector<bfloat16> a = small_integers(16 * D, 3), b = small_integers(16 * D, 4);
    std::vector<bfloat16> first_columns;
    for (int row = 0; row < 16; ++row) first_columns.insert(first_columns.end(), &a[row * D], &a[row * D] + 16);
    const DeviceArray<bfloat16> on_a(a), on_b(b);
    const DeviceArray<float> c(256), e(16 * D);
    emulation::bank_statistics() = {};
    launch("multiply_tiles", multiply_tiles<D>, 1, 8 * D / chunk, 0, nullptr, c.device(), e.device(), on_a.device(),
           on_b.device());
    EXPECT_EQ(c.host(), product(a, b, 16, 16, D, true));
    EXPECT_EQ(e.host(), product(first_columns, b, 16, D, 16, false));
    EXPECT_GT(emulation::bank_statistics().matrices, 0U);
    EXPECT_EQ(emulation::bank_statistics().conflicts, 0U) << "swizzled rows of " << D;
}

TEST(EmulatedInstructions, TilesReachTheTensorCores) {
    check_tiles<32>();
    check_tiles<64>();
    check_tiles<128>();
}

__global__ void read_unswizzled() {
    SHARED_ARRAY(bfloat16, tile, 8 * 64);
    const int lane = static_cast<int>(threadIdx.x);
    for (int i = lane; i < 8 * 64; i += 32) tile[i] = bfloat16(1.0F);
    __syncwarp();
    std::uint32_t to[2];
    ldmatrix_x2(to, tile + (lane % 8 * 64 + lane / 8 % 2 * 8));
}

TEST(EmulatedInstructions, BankConflictsAreCounted) {
    emulation::bank_statistics() = {};
    launch("read_unswizzled", read_unswizzled, 1, 32, 0, nullptr);
    EXPECT_EQ(emulation::bank_statistics().matrices, 2U);
    EXPECT_EQ(emulation::bank_statistics().conflicts, 14U) << "eight rows in the same four banks, twice";
}

TEST(EmulatedInstructions, Bfloat16RoundsToNearestTiesToEven) {
    // Every finite bfloat16 and the floats around the middle between it and the next one.
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
        if ((bits & 0x7f80U) == 0x7f80U) continue;
        const auto rounded = [](std::uint32_t wide) { return bfloat16(std::bit_cast<float>(wide)).bits; };
        const std::uint32_t exact = bits << 16;
        ASSERT_EQ(rounded(exact), bits);
        ASSERT_EQ(rounded(exact + 0x7fff), bits);
        ASSERT_EQ(rounded(exact + 0x8000), bits % 2 == 0 ? bits : bits + 1);
        ASSERT_EQ(rounded(exact + 0x8001), bits + 1);
        ASSERT_EQ(pack_bfloat16(std::bit_cast<float>(exact + 0x8001), std::bit_cast<float>(exact)),
                  bits << 16 | (bits + 1));
    }
    EXPECT_TRUE(std::isnan(to_float(bfloat16(NAN))));
    EXPECT_EQ(to_float(bfloat16(-INFINITY)), -INFINITY);
}

}  // namespace
}  // namespace protalbert::cuda
