// Attention's kernels called without a backend: what only the emulation sees, and batches that a reference could not
// compute whole.

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "base/error.hpp"
#include "kernels/cuda/attention.hpp"
#include "tests/emulation/device_array.hpp"
#include "tests/emulation/emulated_instructions.hpp"
#include "tests/kernels/reference.hpp"
#include "tests/kernels/tensors.hpp"

namespace protalbert::cuda {
namespace {

using bfloat16 = __nv_bfloat16;
using emulation::DeviceArray;

struct Case {
    std::vector<Index> lengths;
    Index A, D;
};

/// Lengths on both sides of the tiles of 32, 64 and 128 rows and the head sizes of the tensor cores.
const std::vector<Case> cases{
    {{1}, 1, 64},    {{3, 0, 17}, 3, 32},        {{63, 64, 65}, 2, 64}, {{127, 128, 129}, 1, 32}, {{300, 33}, 2, 64},
    {{200}, 1, 128}, {{31, 32, 96, 97}, 1, 128}, {{0}, 2, 64},          {{24, 25}, 1, 80},        {{130, 5}, 2, 16}};

/// A few steps of bfloat16, as in the tests of backends.
constexpr double bfloat16_tolerance = 2e-2;

/// In bfloat16; `values` become what the kernels see.
std::vector<bfloat16> rounded(Vector& values) {
    std::vector<bfloat16> result;
    for (double& value : values) {
        result.emplace_back(static_cast<float>(value));
        value = static_cast<float>(result.back());
    }
    return result;
}

Vector to_doubles(const std::vector<bfloat16>& values) {
    Vector result;
    for (const bfloat16 value : values) result.push_back(static_cast<float>(value));
    return result;
}

std::vector<Index> offsets_of(const std::vector<Index>& lengths) {
    std::vector<Index> offsets{0};
    for (const Index length : lengths) offsets.push_back(offsets.back() + length);
    return offsets;
}

/// The tiles of a batch.
class Tiles {
  public:
    explicit Tiles(const std::vector<Index>& offsets) : list_(listed(offsets)), device_(list_) {}
    AttentionTiles tiles() const { return {device_.device(), static_cast<Index>(list_.size())}; }
    const std::vector<AttentionTile>& list() const { return list_; }

  private:
    static std::vector<AttentionTile> listed(const std::vector<Index>& offsets) {
        const auto S = static_cast<Index>(offsets.size()) - 1;
        std::vector<AttentionTile> list(static_cast<std::size_t>(most_attention_tiles(S, offsets.back())));
        const Index count = list_attention_tiles(list.data(), {S, offsets.back(), nullptr, offsets.data()});
        list.resize(static_cast<std::size_t>(count));
        return list;
    }
    std::vector<AttentionTile> list_;
    DeviceArray<AttentionTile> device_;
};

/// Forward and backward of one batch.
struct Results {
    std::vector<bfloat16> out, dqkv;
    std::vector<float> logsumexp;
};

Results run(const std::vector<bfloat16>& qkv, const std::vector<bfloat16>& dout, const std::vector<Index>& offsets,
            Index A, Index D) {
    const Index T = offsets.back(), H = A * D;
    const DeviceArray<bfloat16> on_qkv(qkv), on_dout(dout);
    const DeviceArray<bfloat16> out(static_cast<std::size_t>(T * H)), dqkv(static_cast<std::size_t>(T * 3 * H));
    const DeviceArray<float> logsumexp(static_cast<std::size_t>(A * T)), delta(static_cast<std::size_t>(A * T));
    const Tiles tiles(offsets);
    attention_forward(out.device(), logsumexp.device(), on_qkv.device(), tiles.tiles(), T, A, D, nullptr);
    attention_backward(dqkv.device(), delta.device(), on_dout.device(), out.device(), on_qkv.device(),
                       logsumexp.device(), tiles.tiles(), T, A, D, nullptr);
    return {out.host(), dqkv.host(), logsumexp.host()};
}

/// Each launch takes the threads in another order, so running twice tries two.
TEST(EmulatedAttention, AgreesWithTheReferenceInAnyOrderWithoutBankConflicts) {
    emulation::bank_statistics() = {};
    for (const auto& [lengths, A, D] : cases) {
        const std::vector<Index> offsets = offsets_of(lengths);
        const Index T = offsets.back(), H = A * D;
        SCOPED_TRACE(testing::Message() << "T " << T << " A " << A << " D " << D);
        Vector qkv = random_values(T * 3 * H, 1, 1), dout = random_values(T * H, 1, 2);
        const std::vector<bfloat16> qkv_rounded = rounded(qkv), dout_rounded = rounded(dout);
        const Results got = run(qkv_rounded, dout_rounded, offsets, A, D);
        const auto want = reference::attention_forward(qkv, offsets, A, D);
        const Vector out = to_doubles(got.out);
        expect_close(out, want.out, bfloat16_tolerance, "out");
        expect_close({got.logsumexp.begin(), got.logsumexp.end()}, want.logsumexp, bfloat16_tolerance, "logsumexp");
        expect_close(to_doubles(got.dqkv), reference::attention_backward(dout, out, qkv, offsets, A, D),
                     bfloat16_tolerance, "dqkv");
        const Results again = run(qkv_rounded, dout_rounded, offsets, A, D);
        EXPECT_EQ(to_doubles(again.out), out);
        EXPECT_EQ(to_doubles(again.dqkv), to_doubles(got.dqkv));
        EXPECT_EQ(again.logsumexp, got.logsumexp);
    }
    EXPECT_GT(emulation::bank_statistics().matrices, 0U);
    EXPECT_EQ(emulation::bank_statistics().conflicts, 0U);
}

TEST(EmulatedAttention, TilesOfTheLongestSequenceComeFirst) {
    const Tiles tiles(offsets_of({5, 300, 0, 128, 129}));
    std::vector<std::array<int, 3>> list;
    for (const AttentionTile& tile : tiles.list()) list.push_back({tile.begin, tile.length, tile.first});
    const std::vector<std::array<int, 3>> want{{5, 300, 0},     {5, 300, 128}, {5, 300, 256}, {433, 129, 0},
                                               {433, 129, 128}, {305, 128, 0}, {0, 5, 0}};
    EXPECT_EQ(list, want);
    EXPECT_THROW(Tiles(std::vector<Index>{0, 65537}), Error);
}

/// A batch whose elements are more than 2^31, of which only the last sequence is computed and stored: the same bits as
/// alone.
TEST(EmulatedAttention, BatchesMayHaveMoreElementsThan31Bits) {
    const Index A = 64, D = 32, H = A * D, L = 40, T = 360000;
    ASSERT_GT((T - L) * 3 * H, Index{1} << 31);
    Vector values = random_values(L * 3 * H, 1, 1);
    const std::vector<bfloat16> qkv = rounded(values);
    const Results alone = run(qkv, std::vector<bfloat16>(static_cast<std::size_t>(L * H)), {0, L}, A, D);
    const DeviceArray<bfloat16> on_qkv(static_cast<std::size_t>(T * 3 * H)), out(static_cast<std::size_t>(T * H));
    const std::vector<AttentionTile> list{{static_cast<std::int32_t>(T - L), static_cast<std::int32_t>(L), 0}};
    const DeviceArray<AttentionTile> tile(list);
    ASSERT_EQ(cudaMemcpy(on_qkv.device() + (T - L) * 3 * H, qkv.data(), qkv.size() * 2, cudaMemcpyHostToDevice),
              cudaSuccess);
    attention_forward(out.device(), nullptr, on_qkv.device(), {tile.device(), 1}, T, A, D, nullptr);
    std::vector<bfloat16> last(static_cast<std::size_t>(L * H));
    ASSERT_EQ(cudaMemcpy(last.data(), out.device() + (T - L) * H, last.size() * 2, cudaMemcpyDeviceToHost),
              cudaSuccess);
    EXPECT_EQ(to_doubles(last), to_doubles(alone.out));
}

/// The last tile of a sequence as long as the longest known protein, titin: its queries attend to all keys, its keys to
/// all queries. logsumexp and out are made up, so that no other tile need be computed.
TEST(EmulatedAttention, LongestProtein) {
    const Index D = 32, L = 35213, first = L / attention_tile_rows * attention_tile_rows;
    Vector qkv = random_values(L * 3 * D, 1, 1), dout = random_values(L * D, 1, 2), out = random_values(L * D, 1, 3);
    const Vector logsumexp(static_cast<std::size_t>(L), 5.0);
    const DeviceArray<bfloat16> on_qkv(rounded(qkv)), on_dout(rounded(dout)), on_out(rounded(out));
    const DeviceArray<bfloat16> got_out(static_cast<std::size_t>(L * D)), dqkv(static_cast<std::size_t>(L * 3 * D));
    const DeviceArray<float> on_logsumexp(std::vector<float>(logsumexp.begin(), logsumexp.end()));
    const DeviceArray<float> delta(static_cast<std::size_t>(L));
    const std::vector<AttentionTile> list{{0, static_cast<std::int32_t>(L), static_cast<std::int32_t>(first)}};
    const DeviceArray<AttentionTile> tile(list);
    attention_forward(got_out.device(), nullptr, on_qkv.device(), {tile.device(), 1}, L, 1, D, nullptr);
    attention_backward(dqkv.device(), delta.device(), on_dout.device(), on_out.device(), on_qkv.device(),
                       on_logsumexp.device(), {tile.device(), 1}, L, 1, D, nullptr);

    const auto dot = [&](const Vector& a, Index a_at, const Vector& b, Index b_at) {
        double sum = 0;
        for (Index d = 0; d < D; ++d) sum += a[reference::at(0, 0, a_at + d)] * b[reference::at(0, 0, b_at + d)];
        return sum;
    };
    const double scale = 1 / std::sqrt(static_cast<double>(D));
    Vector want_out, want_dqkv;
    for (Index r = first; r < L; ++r) {
        Vector o(static_cast<std::size_t>(D), 0.0), dq = o, dk = o, dv = o;
        double total = 0;
        for (Index j = 0; j < L; ++j) {
            // Row r as a query with key j, then as a key with query j.
            const double p = std::exp(dot(qkv, r * 3 * D, qkv, j * 3 * D + D) * scale - 5.0);
            const double ds = p * (dot(dout, r * D, qkv, j * 3 * D + 2 * D) - dot(dout, r * D, out, r * D)) * scale;
            const double p_key = std::exp(dot(qkv, j * 3 * D, qkv, r * 3 * D + D) * scale - 5.0);
            const double ds_key =
                p_key * (dot(dout, j * D, qkv, r * 3 * D + 2 * D) - dot(dout, j * D, out, j * D)) * scale;
            total += p;
            for (Index d = 0; d < D; ++d) {
                const auto i = static_cast<std::size_t>(d);
                o[i] += p * qkv[reference::at(j, 3 * D, 2 * D + d)];
                dq[i] += ds * qkv[reference::at(j, 3 * D, D + d)];
                dk[i] += ds_key * qkv[reference::at(j, 3 * D, d)];
                dv[i] += p_key * dout[reference::at(j, D, d)];
            }
        }
        for (const double value : o) want_out.push_back(value / total);
        for (const Vector& gradient : {dq, dk, dv}) want_dqkv.insert(want_dqkv.end(), gradient.begin(), gradient.end());
    }
    const Vector all_out = to_doubles(got_out.host()), all_dqkv = to_doubles(dqkv.host());
    expect_close({all_out.begin() + first * D, all_out.end()}, want_out, bfloat16_tolerance, "out");
    expect_close({all_dqkv.begin() + first * 3 * D, all_dqkv.end()}, want_dqkv, bfloat16_tolerance, "dqkv");
}

}  // namespace
}  // namespace protalbert::cuda
