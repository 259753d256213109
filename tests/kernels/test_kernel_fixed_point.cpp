// Fixed-point sums of a backend.

#include <cmath>
#include <limits>

#include "tests/kernels/tensors.hpp"

namespace protalbert {
namespace {

constexpr Index size = 20011;  // more than two pieces, and a rest

TEST(FixedPoint, AddsAndRounds) {
    const std::unique_ptr<Backend> made = test_backend();
    Backend& backend = *made;
    constexpr int bits = 30;
    const Vector first = random_values(size, 0.5, 1), second = random_values(size, 3.0, 2);
    Guarded<float> values(backend, to_floats(first));
    Guarded<std::int64_t> sums(backend, std::vector<std::int64_t>(size, 5));
    Guarded<float> largest(backend, std::vector<float>(1, 0.0F));
    backend.add_fixed_point(sums.device(), largest.device(), values.device(), bits, size, {});
    for (const float value : values.host()) ASSERT_EQ(value, 0);
    Guarded<float> more(backend, to_floats(second));
    backend.add_fixed_point(sums.device(), largest.device(), more.device(), bits, size, {});
    const std::vector<float> x = to_floats(first), y = to_floats(second);
    const std::vector<std::int64_t> found = sums.host();
    float expected_largest = 0;
    for (Index i = 0; i < size; ++i) {
        const auto rounded = [](float value) {
            return static_cast<std::int64_t>(std::round(std::ldexp(static_cast<double>(value), bits)));
        };
        ASSERT_EQ(found[i], 5 + rounded(x[i]) + rounded(y[i])) << i;
        expected_largest = std::max({expected_largest, std::abs(x[i]), std::abs(y[i])});
    }
    EXPECT_EQ(largest.host()[0], expected_largest);
    Guarded<float> back(backend, std::vector<float>(size, -1.0F));
    backend.from_fixed_point(back.device(), sums.device(), bits, size, {});
    const std::vector<float> floats = back.host();
    for (Index i = 0; i < size; ++i)
        ASSERT_EQ(floats[i], static_cast<float>(std::ldexp(static_cast<double>(found[i]), -bits))) << i;
}

TEST(FixedPoint, TellsWhatDoesNotFit) {
    const std::unique_ptr<Backend> made = test_backend();
    Backend& backend = *made;
    constexpr float infinity = std::numeric_limits<float>::infinity();
    const float cases[] = {3e38F, -3e38F, infinity, -infinity, std::numeric_limits<float>::quiet_NaN()};
    for (const float wrong : cases) {
        std::vector<float> input(size, 1.0F);
        input[12345] = wrong;
        Guarded<float> values(backend, input);
        Guarded<std::int64_t> sums(backend, std::vector<std::int64_t>(size, 7));
        Guarded<float> largest(backend, std::vector<float>(1, 0.0F));
        backend.add_fixed_point(sums.device(), largest.device(), values.device(), 44, size, {});
        EXPECT_EQ(largest.host()[0], std::isfinite(wrong) ? std::abs(wrong) : infinity) << wrong;
        EXPECT_EQ(sums.host()[12345], 7) << wrong;
    }
}

}  // namespace
}  // namespace protalbert
