// Samples: crops, segments, swaps, partners and labels, against the rules and against a second implementation.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.hpp"
#include "sample_helpers.hpp"

namespace protalbert {
namespace {

using loader_test::make_sample;
using loader_test::random_protein;
using loader_test::sigmas;

/// Tokens as they were before masking.
std::vector<std::int32_t> unmasked(const PackedBatch& batch) {
    auto tokens = batch.tokens;
    for (std::size_t i = 0; i < batch.masked_positions.size(); ++i)
        tokens[batch.masked_positions[i]] = batch.masked_labels[i];
    return tokens;
}

std::vector<std::int32_t> piece(const std::vector<std::uint8_t>& protein, std::uint32_t start, std::uint32_t length) {
    return {protein.begin() + start, protein.begin() + start + length};
}

/// Holds for every sample of every objective.
void expect_sound(const SampleSettings& settings, const SamplePlan& plan, const PackedBatch& batch,
                  const std::vector<std::uint8_t>& protein, const std::vector<std::uint8_t>& partner) {
    auto first = piece(protein, plan.first_start, plan.first_length);
    auto second = piece(plan.second_is_other ? partner : protein, plan.second_start, plan.second_length);
    if (plan.swapped) std::swap(first, second);
    std::vector<std::int32_t> expected = {2};
    expected.insert(expected.end(), first.begin(), first.end());
    expected.push_back(3);
    if (settings.objective != Objective::none) {
        expected.insert(expected.end(), second.begin(), second.end());
        expected.push_back(3);
    }
    ASSERT_EQ(unmasked(batch), expected);
    ASSERT_EQ(batch.token_count(), plan.length);
    ASSERT_LE(plan.length, settings.max_length);
    for (std::size_t i = 0; i < expected.size(); ++i) {
        ASSERT_EQ(batch.positions[i], static_cast<std::int32_t>(i));
        ASSERT_EQ(batch.segments[i], i >= first.size() + 2);
    }
    ASSERT_EQ(batch.cu_seqlens, (std::vector<std::int64_t>{0, plan.length}));
    ASSERT_EQ(batch.masked_count(), masked_count(settings, plan));
    ASSERT_TRUE(std::is_sorted(batch.masked_positions.begin(), batch.masked_positions.end(), std::less_equal<>()));
    for (const auto position : batch.masked_positions) ASSERT_GE(expected[position], 5) << "a special token is masked";
    ASSERT_EQ(batch.sentence_labels, std::vector<std::int32_t>{plan.sentence_label});
    ASSERT_EQ(plan.sentence_label >= 0, settings.objective != Objective::none && protein.size() >= 2);
}

TEST(Sample, EverySampleIsSound) {
    for (const Objective objective : {Objective::sop, Objective::nsp, Objective::none}) {
        for (const double fraction : {0.15, 0.6, 1.0}) {
            SampleSettings settings{.max_length = 40, .objective = objective, .masked_fraction = fraction};
            for (std::uint64_t i = 0; i < 4000; ++i) {
                const auto protein = random_protein(i, i % 97);
                const auto partner = random_protein(i + 1, (i + 1) % 97);
                const auto sample = make_sample(settings, 3, i, protein, partner);
                ASSERT_NO_FATAL_FAILURE(expect_sound(settings, sample.plan, sample.batch, protein, partner));
            }
        }
    }
}

TEST(Sample, SecondSegmentFollowsTheFirst) {
    SampleSettings settings{.max_length = 40};
    for (std::uint64_t i = 0; i < 1000; ++i) {
        const auto plan = plan_sample(settings, 0, i, 2 + i % 80, 0, 0);
        ASSERT_GE(plan.first_length, 1u);
        ASSERT_GE(plan.second_length, 1u);
        ASSERT_EQ(plan.second_start, plan.first_start + plan.first_length);
    }
}

TEST(Sample, TooShortForTwoSegments) {
    for (const Objective objective : {Objective::sop, Objective::nsp}) {
        SampleSettings settings{.objective = objective};
        const auto one = make_sample(settings, 0, 1, {20}, random_protein(2, 30));
        EXPECT_EQ(unmasked(one.batch), (std::vector<std::int32_t>{2, 20, 3, 3}));
        EXPECT_EQ(one.batch.segments, (std::vector<std::int32_t>{0, 0, 0, 1}));
        EXPECT_EQ(one.batch.sentence_labels[0], -1);
        EXPECT_EQ(one.batch.masked_positions, std::vector<std::int64_t>{1});
        const auto none = make_sample(settings, 0, 1, {}, random_protein(2, 30));
        EXPECT_EQ(none.batch.tokens, (std::vector<std::int32_t>{2, 3, 3}));
        EXPECT_EQ(none.batch.masked_count(), 0);
    }
}

TEST(Sample, CropAndCutAreUniform) {
    // 20 residues, 10 of which fit: 11 starts and 9 cuts.
    SampleSettings settings{.max_length = 13, .short_fraction = 0};
    constexpr int trials = 50000;
    std::map<std::uint32_t, int> starts, cuts;
    for (int i = 0; i < trials; ++i) {
        const auto plan = plan_sample(settings, 0, i, 20, 0, 0);
        ASSERT_EQ(plan.length, 13);
        ++starts[plan.first_start];
        ++cuts[plan.first_length];
    }
    EXPECT_EQ(starts.size(), 11u);
    EXPECT_EQ(cuts.size(), 9u);
    for (const auto& [start, count] : starts) EXPECT_LT(sigmas(count, trials, 1.0 / 11), 5) << start;
    for (const auto& [cut, count] : cuts) EXPECT_LT(sigmas(count, trials, 1.0 / 9), 5) << cut;
}

TEST(Sample, ShortTargetsAreUniform) {
    // A tenth has a target uniform in 2 .. 10 instead of 10.
    SampleSettings settings{.max_length = 13, .short_fraction = 0.1};
    constexpr int trials = 100000;
    std::map<std::int64_t, int> lengths;
    for (int i = 0; i < trials; ++i) ++lengths[plan_sample(settings, 0, i, 20, 0, 0).length - 3];
    EXPECT_EQ(lengths.begin()->first, 2);
    EXPECT_EQ(lengths.rbegin()->first, 10);
    for (const auto& [length, count] : lengths)
        EXPECT_LT(sigmas(count, trials, length < 10 ? 0.1 / 9 : 0.9 + 0.1 / 9), 5) << length;
}

TEST(Sample, LabelsAreBalanced) {
    constexpr int trials = 20000;
    for (const Objective objective : {Objective::sop, Objective::nsp}) {
        SampleSettings settings{.objective = objective};
        int ones = 0;
        for (int i = 0; i < trials; ++i) {
            const auto plan = plan_sample(settings, 0, i, 300, i + 1, 200);
            ones += plan.sentence_label;
            ASSERT_EQ(plan.swapped, objective == Objective::sop && plan.sentence_label == 1);
            ASSERT_EQ(plan.second_is_other, objective == Objective::nsp && plan.sentence_label == 1);
        }
        EXPECT_LT(sigmas(ones, trials, 0.5), 5);
    }
}

TEST(Sample, PartnerFillsTheRest) {
    SampleSettings settings{.max_length = 53, .objective = Objective::nsp, .short_fraction = 0};
    std::set<std::uint32_t> starts;
    for (std::uint64_t i = 0; i < 4000; ++i) {
        const auto plan = plan_sample(settings, 0, i, 80, i + 1, 60);
        if (!plan.second_is_other) continue;
        ASSERT_EQ(plan.partner, i + 1);
        ASSERT_EQ(plan.first_length + plan.second_length, 50u);
        if (plan.first_length == 10) starts.insert(plan.second_start);
    }
    EXPECT_GT(starts.size(), 10u);  // of 21 possible starts, 40 draws
    for (std::uint64_t i = 0; i < 1000; ++i) {
        EXPECT_EQ(plan_sample(settings, 0, i, 80, i, 0).sentence_label, 0) << "there is no partner";
        const auto plan = plan_sample(settings, 0, i, 30, i + 1, 4);
        if (plan.second_is_other) {
            EXPECT_EQ(plan.second_length, 4u);
        }
    }
}

TEST(Sample, DependsOnSeedEpochAndSequenceAlone) {
    SampleSettings settings{.max_length = 60};
    const auto protein = random_protein(1, 100);
    const auto sample = make_sample(settings, 4, 9, protein);
    auto other_seed = settings;
    ++other_seed.seed;
    EXPECT_NE(make_sample(other_seed, 4, 9, protein).batch.tokens, sample.batch.tokens);
    EXPECT_NE(make_sample(settings, 5, 9, protein).batch.tokens, sample.batch.tokens);
    EXPECT_NE(make_sample(settings, 4, 10, protein).batch.tokens, sample.batch.tokens);

    // The same behind another sample, whose tokens shift its own.
    PackedBatch batch = make_sample(settings, 0, 1, random_protein(2, 70)).batch;
    const auto shift = batch.token_count();
    const auto masked_before = batch.masked_count();
    append_sample(batch, sample.plan, settings, default_vocabulary(), protein, {}, 5);
    EXPECT_TRUE(std::equal(sample.batch.tokens.begin(), sample.batch.tokens.end(), batch.tokens.begin() + shift));
    EXPECT_TRUE(std::equal(sample.batch.segments.begin(), sample.batch.segments.end(), batch.segments.begin() + shift));
    EXPECT_TRUE(
        std::equal(sample.batch.positions.begin(), sample.batch.positions.end(), batch.positions.begin() + shift));
    ASSERT_EQ(batch.masked_count(), masked_before + sample.batch.masked_count());
    for (std::int64_t i = 0; i < sample.batch.masked_count(); ++i) {
        EXPECT_EQ(batch.masked_positions[masked_before + i], sample.batch.masked_positions[i] + shift);
        EXPECT_EQ(batch.masked_labels[masked_before + i], sample.batch.masked_labels[i]);
    }
    EXPECT_EQ(batch.cu_seqlens, (std::vector<std::int64_t>{0, shift, shift + sample.plan.length}));
    EXPECT_EQ(batch.samples, (std::vector<std::uint64_t>{1, 9}));
    EXPECT_EQ(batch.places, (std::vector<std::uint32_t>{0, 5}));
}

struct Golden {
    Objective objective;
    std::uint64_t sequence;
    std::uint32_t epoch;
    std::vector<std::int32_t> tokens, segments;
    std::vector<std::int64_t> masked_positions;
    std::vector<std::int32_t> masked_labels;
    std::int32_t sentence_label;
};

TEST(Sample, EqualsTheSecondImplementation) {
    // Printed by sample_reference.py, which has the same proteins. A change here changes what every run trains on.
    const std::vector<Golden> cases = {
        {Objective::sop,
         5u,
         0,
         {2, 4, 12, 13, 14, 16, 18, 21, 25, 29, 13, 19, 25, 4, 19, 4, 4, 3, 25, 21, 18, 4, 30, 3},
         {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1},
         {1, 2, 13, 15, 16, 21, 22},
         {13, 13, 32, 27, 15, 16, 14},
         1},
        {Objective::sop,
         5u,
         1,
         {2, 13, 4, 13, 14, 16, 18, 21, 25, 4, 13, 19, 4, 4, 19, 27, 15, 3, 25, 21, 4, 16, 14, 3},
         {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1},
         {2, 4, 8, 9, 12, 13, 20},
         {13, 14, 25, 29, 25, 32, 18},
         1},
        {Objective::nsp,
         2u,
         3,
         {2, 4, 20, 28, 16, 25, 14, 4, 4, 4, 4, 4, 3, 25, 19, 13, 4, 25, 21, 18, 16, 14, 13, 3},
         {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
         {1, 7, 8, 9, 10, 11, 16},
         {13, 25, 15, 27, 19, 32, 29},
         0},
        {Objective::nsp,
         6u,
         3,
         {2, 4, 13, 13, 13, 14, 16, 4, 4, 4, 29, 4, 4, 3, 4, 20, 25, 30, 14, 19, 24, 29, 13, 3},
         {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
         {1, 7, 8, 9, 11, 12, 14},
         {14, 18, 21, 25, 13, 19, 15},
         1},
        {Objective::none, 8589934592u, 1, {2, 25, 4, 13, 4, 3}, {0, 0, 0, 0, 0, 0}, {2, 4}, {29, 19}, -1},
    };
    std::vector<std::uint8_t> protein, partner;
    for (int i = 0; i < 50; ++i) protein.push_back(static_cast<std::uint8_t>(13 + (7 * i + i * i / 3) % 21));
    for (int i = 0; i < 9; ++i) partner.push_back(static_cast<std::uint8_t>(13 + (5 * i + 2) % 21));
    for (const Golden& golden : cases) {
        SCOPED_TRACE(golden.sequence);
        const SampleSettings settings{.max_length = 24,
                                      .objective = golden.objective,
                                      .masked_fraction = 0.3,
                                      .seed = 12345 + (std::uint64_t{6} << 32)};
        const PackedBatch batch = make_sample(settings, golden.epoch, golden.sequence, protein, partner).batch;
        EXPECT_EQ(batch.tokens, golden.tokens);
        EXPECT_EQ(batch.segments, golden.segments);
        EXPECT_EQ(batch.masked_positions, golden.masked_positions);
        EXPECT_EQ(batch.masked_labels, golden.masked_labels);
        EXPECT_EQ(batch.sentence_labels[0], golden.sentence_label);
    }
}

TEST(Sample, SettingsOutOfRangeAreRefused) {
    EXPECT_NO_THROW(check_sample_settings({}));
    EXPECT_THROW(check_sample_settings({.max_length = 4}), InputError);
    EXPECT_THROW(check_sample_settings({.masked_fraction = 0}), InputError);
    EXPECT_THROW(check_sample_settings({.masked_fraction = 1.5}), InputError);
    EXPECT_THROW(check_sample_settings({.ngram = 0}), InputError);
    EXPECT_THROW(check_sample_settings({.short_fraction = -0.1}), InputError);
    EXPECT_THROW(parse_objective("mlm"), InputError);
    for (const Objective objective : {Objective::sop, Objective::nsp, Objective::none})
        EXPECT_EQ(parse_objective(objective_name(objective)), objective);
}

}  // namespace
}  // namespace protalbert
