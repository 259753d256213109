// Attention's kernels against the double-precision reference, called without a backend.

#include <gtest/gtest.h>

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

/// Lengths on both sides of the tiles of 32, 64 and 128 rows, empty sequences, the head sizes of the tensor cores, and
/// some of the simple kernels.
const std::vector<Case> cases{
    {{1}, 1, 64},    {{3, 0, 17}, 3, 32},        {{63, 64, 65}, 2, 64}, {{127, 128, 129}, 1, 32}, {{300, 33}, 2, 64},
    {{200}, 1, 128}, {{31, 32, 96, 97}, 1, 128}, {{0}, 2, 64},          {{17, 1, 0, 130}, 2, 20}, {{65}, 1, 7},
    {{40}, 1, 256}};

template <class T>
constexpr double forward_tolerance = sizeof(T) == 2 ? 2e-2 : 2e-6;
template <class T>
constexpr double backward_tolerance = sizeof(T) == 2 ? 2e-2 : 5e-6;

template <class T>
std::vector<T> rounded(Vector& values) {
    std::vector<T> result;
    for (double& value : values) {
        result.push_back(T(static_cast<float>(value)));
        value = static_cast<float>(result.back());
    }
    return result;
}

template <class T>
Vector to_doubles(const std::vector<T>& values) {
    Vector result;
    for (const T& value : values) result.push_back(static_cast<float>(value));
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

template <class T>
class EmulatedAttention : public testing::Test {};
using Types = testing::Types<bfloat16, float>;
TYPED_TEST_SUITE(EmulatedAttention, Types);

TYPED_TEST(EmulatedAttention, AgreesWithTheReference) {
    using T = TypeParam;
    for (const auto& [lengths, A, D] : cases) {
        const std::vector<Index> offsets = offsets_of(lengths);
        const Index tokens = offsets.back(), H = A * D;
        SCOPED_TRACE(testing::Message() << "T " << tokens << " A " << A << " D " << D);
        Vector qkv = random_values(tokens * 3 * H, 1, 1), dout = random_values(tokens * H, 1, 2);
        const DeviceArray<T> qkv_device(rounded<T>(qkv)), dout_device(rounded<T>(dout));
        const DeviceArray<T> out(static_cast<std::size_t>(tokens * H)), dqkv(static_cast<std::size_t>(tokens * 3 * H));
        const DeviceArray<float> logsumexp(static_cast<std::size_t>(A * tokens));
        const DeviceArray<float> delta(static_cast<std::size_t>(A * tokens));
        const Tiles tiles(offsets);
        attention_forward(out.device(), logsumexp.device(), qkv_device.device(), tiles.tiles(), tokens, A, D, nullptr);
        const auto want = reference::attention_forward(qkv, offsets, A, D);
        expect_close(to_doubles(out.host()), want.out, forward_tolerance<T>, "out");
        expect_close(to_doubles(logsumexp.host()), want.logsumexp, forward_tolerance<T>, "logsumexp");
        attention_backward(dqkv.device(), delta.device(), dout_device.device(), out.device(), qkv_device.device(),
                           logsumexp.device(), tiles.tiles(), tokens, A, D, nullptr);
        expect_close(to_doubles(dqkv.host()), reference::attention_backward(dout, qkv, offsets, A, D),
                     backward_tolerance<T>, "dqkv");
    }
}

}  // namespace
}  // namespace protalbert::cuda
