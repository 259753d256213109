// Masking: how many residues, which, and what they are replaced by.

#include <gtest/gtest.h>

#include <array>
#include <map>

#include "sample_helpers.hpp"

namespace protalbert {
namespace {

using loader_test::make_sample;
using loader_test::random_protein;
using loader_test::sigmas;

TEST(Masking, CountIsRoundedHalfToEven) {
    SampleSettings settings;
    auto count = [&](std::int64_t length, double fraction) {
        settings.masked_fraction = fraction;
        SamplePlan plan;
        plan.length = length;
        plan.first_length = static_cast<std::uint32_t>(length - 3);
        return masked_count(settings, plan);
    };
    EXPECT_EQ(count(512, 0.15), 77);    // 76.8
    EXPECT_EQ(count(2048, 0.15), 307);  // 307.2
    EXPECT_EQ(count(10, 0.15), 2);      // 1.5
    EXPECT_EQ(count(30, 0.15), 4);      // 4.5
    EXPECT_EQ(count(50, 0.15), 8);      // 7.5
    EXPECT_EQ(count(4, 0.01), 1);       // at least one
    EXPECT_EQ(count(10, 1.0), 7);       // residues only
}

TEST(Masking, EightTenthsMaskedOneTenthRandomOneTenthKept) {
    SampleSettings settings;
    std::int64_t masked = 0, masks = 0, kept = 0;
    std::map<std::int32_t, std::int64_t> others;
    for (std::uint64_t i = 0; i < 2000; ++i) {
        const PackedBatch batch = make_sample(settings, 0, i, random_protein(i, 600)).batch;
        for (std::size_t m = 0; m < batch.masked_positions.size(); ++m) {
            const std::int32_t token = batch.tokens[batch.masked_positions[m]];
            ++masked;
            if (token == 4)
                ++masks;
            else if (token == batch.masked_labels[m])
                ++kept;
            else
                ++others[token];
        }
    }
    // A random id is [MASK] or the original one time in 34 each.
    const auto trials = static_cast<double>(masked);
    EXPECT_GT(masked, 140000);
    EXPECT_LT(sigmas(static_cast<double>(masks), trials, 0.8 + 0.1 / 34), 5);
    EXPECT_LT(sigmas(static_cast<double>(kept), trials, 0.1 + 0.1 / 34), 5);
    // Specials and punctuation are drawn as often as residues; those never by chance equal to the original.
    ASSERT_EQ(others.size(), 33u);
    for (const auto& [token, count] : others) {
        const double probability = token < 13 ? 0.1 / 34 : 0.1 / 34 * 20 / 21;
        EXPECT_LT(sigmas(static_cast<double>(count), trials, probability), 5) << token;
    }
}

TEST(Masking, SpanLengthsGoByOneOverN) {
    // A budget of 3 in a protein so long that two spans touch once in a thousand samples: with p(1), p(2), p(3) = 6/11,
    // 3/11, 2/11 and cutting to the budget there is one run of 3 with p 2/11, runs of 1, 1, 1 with p 6/11 6/11, and
    // else runs of 1 and 2.
    constexpr int trials = 20000;
    SampleSettings settings{
        .max_length = 8002, .objective = Objective::none, .masked_fraction = 3.0 / 8002, .short_fraction = 0};
    const auto protein = random_protein(1, 8000);
    std::array<int, 4> runs{};
    for (int i = 0; i < trials; ++i) {
        const auto positions = make_sample(settings, 0, i, protein).batch.masked_positions;
        ASSERT_EQ(positions.size(), 3u);
        ++runs[1 + (positions[1] != positions[0] + 1) + (positions[2] != positions[1] + 1)];
    }
    EXPECT_LT(sigmas(runs[1], trials, 2.0 / 11), 5);
    EXPECT_LT(sigmas(runs[3], trials, 36.0 / 121), 5);
    EXPECT_LT(sigmas(runs[2], trials, 63.0 / 121), 5);
}

TEST(Masking, SmallCaseByHand) {
    // Three residues, two to be masked. Start 0 (p 1/3): span 1 with 6/11, else 2 or 3, cut to 2. Start 1: two residues
    // of room, span 2 with p(2) = (1/2) / (1 + 1/2) = 1/3. Start 2: span 1. After a span of 1 one of the other two
    // starts comes next, its span cut to 1. So {0,1}: 8/33 + 1/9, {1,2}: 2/9 + 1/6, {0,2}: 1/11 + 1/6.
    constexpr int trials = 60000;
    SampleSettings settings{.max_length = 5, .objective = Objective::none, .masked_fraction = 0.4, .short_fraction = 0};
    std::array<int, 4> left_out{};
    for (int i = 0; i < trials; ++i) {
        const auto positions = make_sample(settings, 0, i, {20, 21, 22}).batch.masked_positions;
        ASSERT_EQ(positions.size(), 2u);
        ++left_out[6 - positions[0] - positions[1]];
    }
    EXPECT_LT(sigmas(left_out[3], trials, 8.0 / 33 + 1.0 / 9), 5);
    EXPECT_LT(sigmas(left_out[1], trials, 2.0 / 9 + 1.0 / 6), 5);
    EXPECT_LT(sigmas(left_out[2], trials, 1.0 / 11 + 1.0 / 6), 5);
}

TEST(Masking, SingleResiduesWithoutSpans) {
    // ngram 1: every residue of a pair equally often, on both sides of the middle [SEP].
    constexpr int trials = 20000;
    SampleSettings settings{.max_length = 13, .ngram = 1, .short_fraction = 0};
    const auto protein = random_protein(3, 10);
    std::array<int, 10> counts{};
    for (int i = 0; i < trials; ++i) {
        const auto sample = make_sample(settings, 0, i, protein);
        const auto first =
            static_cast<std::int64_t>(sample.plan.swapped ? sample.plan.second_length : sample.plan.first_length);
        for (const auto position : sample.batch.masked_positions) ++counts[position - 1 - (position > first)];
    }
    for (int i = 0; i < 10; ++i) EXPECT_LT(sigmas(counts[i], trials, 0.2), 5) << i;  // 2 of 10
}

TEST(Masking, SpansMayStraddleTheMiddle) {
    SampleSettings settings{.max_length = 13, .masked_fraction = 0.15, .short_fraction = 0};
    const auto protein = random_protein(3, 10);
    int straddling = 0;
    for (int i = 0; i < 2000; ++i) {
        const auto sample = make_sample(settings, 0, i, protein);
        const auto first =
            static_cast<std::int64_t>(sample.plan.swapped ? sample.plan.second_length : sample.plan.first_length);
        straddling += sample.batch.masked_positions == std::vector<std::int64_t>{first, first + 2};
    }
    // One pair of neighbours in nine; a pair is one span with p 1/2.
    EXPECT_GT(straddling, 60);
}

}  // namespace
}  // namespace protalbert
