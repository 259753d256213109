// Gradients and losses of a reproducible step: the same bits for all ranks together and for each rank alone, also where
// the usual number of bits does not hold the gradients, and where they are no numbers.

#include <cmath>
#include <cstring>
#include <limits>

#include "../foundation/mpi_main.hpp"
#include "../train/training_run.hpp"
#include "base/error.hpp"
#include "train/train_step.hpp"

namespace protalbert {
namespace {

using namespace train_test;

struct Outcome {
    std::vector<float> gradients;
    LossTotals losses;
    double norm = 0;
    int bits = 0;
};

class ExactSumsTest : public testing::Test {
  protected:
    ExactSumsTest()
        : world_(Communicator::world()),
          alone_(world_.split(world_.rank())),
          folder_(make_shared_folder("exact_sums")),
          file_((folder_ / "corpus.h5").string()) {
        loader_test::write_corpus(file_, loader_test::random_proteins(100), world_);
    }
    ~ExactSumsTest() override { remove_shared_folder(folder_); }

    /// The gradients of the first step, with the gain of the masked head's layer norm times `gain`.
    Outcome run(const Communicator& communicator, bool reproducible, float gain) {
        TrainSettings settings = tiny_settings(folder_ / "run");
        settings.global_batch = 50;
        TinyRun tiny(settings, tiny_config(), file_, communicator);
        TrainState& state = tiny.state;
        std::vector<float> parameters = initial_parameters(state.model.layout, state.model.config, 1);
        for (std::int64_t i = 0; i < state.model.config.embedding; ++i)
            parameters[static_cast<std::size_t>(state.model.layout.masked_norm.gamma + i)] *= gain;
        set_parameters(state.model, parameters);
        StepWorkspace workspace =
            make_step_workspace(state.model, micro_batch_limits(settings), reproducible, communicator);
        const LoaderSettings loader{.sample = settings.sample,
                                    .global_batch = settings.global_batch,
                                    .batch_tokens = settings.batch_tokens,
                                    .blocks = {},
                                    .reproducible = reproducible};
        const std::vector<StepBatch> batches = BatchLoader::validation_batches(
            tiny.corpus, 50, loader, [](std::int64_t length) { return static_cast<double>(length); }, communicator);
        EXPECT_EQ(batches.size(), 1U);
        if (reproducible) {
            EXPECT_GT(batches[0].global_micro_batches, 7);
        }
        Outcome outcome;
        StepSums sums;
        const StepOutcome step = compute_gradients(state, batches[0], workspace);
        sums.losses = step.losses;
        outcome.norm = step.gradient_norm;
        sum_over_ranks(sums, communicator);
        outcome.losses = sums.losses;
        outcome.gradients = download_array(state.gradients, state.model);
        outcome.bits = workspace.exact ? workspace.exact->bits : 0;
        return outcome;
    }

    void expect_same_bits(const Outcome& left, const Outcome& right) {
        EXPECT_EQ(std::memcmp(left.gradients.data(), right.gradients.data(), left.gradients.size() * sizeof(float)), 0);
        EXPECT_EQ(left.losses.masked_loss, right.losses.masked_loss);
        EXPECT_EQ(left.losses.sentence_loss, right.losses.sentence_loss);
        EXPECT_EQ(left.losses.masked_correct, right.losses.masked_correct);
        EXPECT_EQ(left.bits, right.bits);
    }

    const Communicator world_, alone_;
    const std::filesystem::path folder_;
    const std::string file_;
};

TEST_F(ExactSumsTest, RanksTogetherAndAlone) {
    const Outcome together = run(world_, true, 1), alone = run(alone_, true, 1), usual = run(alone_, false, 1);
    expect_same_bits(together, alone);
    EXPECT_EQ(together.norm, alone.norm);
    EXPECT_EQ(together.bits, usual_bits);
    // Beside plain float32 sums: rounding, and half a quantum for each of some dozen micro-batches.
    double difference = 0;
    for (std::size_t i = 0; i < usual.gradients.size(); ++i)
        difference = std::max(difference, std::abs(static_cast<double>(usual.gradients[i]) - alone.gradients[i]));
    EXPECT_GT(usual.norm, 0.1);
    EXPECT_LT(difference, 1e-6 * usual.norm);
    EXPECT_NEAR(usual.losses.masked_loss, alone.losses.masked_loss, 1e-6 * usual.losses.masked_loss);
}

TEST_F(ExactSumsTest, LargeGradientsTakeFewerBits) {
    // The word table's gradient grows with the gain.
    const Outcome together = run(world_, true, 1e9F), alone = run(alone_, true, 1e9F), usual = run(alone_, false, 1e9F);
    expect_same_bits(together, alone);
    EXPECT_LT(together.bits, usual_bits);
    EXPECT_TRUE(std::isfinite(together.norm));
    EXPECT_NEAR(together.norm, usual.norm, 1e-5 * usual.norm);
}

TEST_F(ExactSumsTest, WhatIsNoNumberIsTold) {
    const Outcome together = run(world_, true, std::numeric_limits<float>::infinity());
    EXPECT_FALSE(std::isfinite(together.norm));
}

TEST(ExactSums, BitsLeaveRoom) {
    EXPECT_EQ(bits_for(0, 1), usual_bits);
    EXPECT_EQ(bits_for(100, 1000), usual_bits);
    EXPECT_EQ(bits_for(0x1p18, 1), 43);  // 2^18 is not below 2^18
    for (const double largest : {1e-30, 1.0, 3e5, 1e20, 3e38})
        for (const std::int64_t terms : {1, 7, 100000}) {
            const int bits = bits_for(largest, terms);
            EXPECT_LT(std::ldexp(largest, bits) * static_cast<double>(terms), 0x1p62) << largest << " x " << terms;
        }
}

TEST(ExactSums, LossesAddExactly) {
    LossTotals losses;
    losses.masked_loss = 123456.789012345678;
    losses.masked_correct = 17;
    const LossTotals rounded = round_for_sums(losses);
    EXPECT_NEAR(rounded.masked_loss, losses.masked_loss, 0x1p-29);
    EXPECT_EQ(std::fmod(std::ldexp(rounded.masked_loss, 28), 1.0), 0.0);
    EXPECT_EQ(rounded.masked_correct, 17);
}

}  // namespace
}  // namespace protalbert
