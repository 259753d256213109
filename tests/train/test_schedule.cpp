// Learning-rate schedule and what a deck says about training.

#include <gtest/gtest.h>

#include "base/deck.hpp"
#include "base/error.hpp"
#include "train/train_settings.hpp"

namespace protalbert {
namespace {

TEST(Schedule, OfficialValues) {
    // protalbert.md 4: ProtAlbert's phase 1.
    const Schedule schedule = {.peak = 0.002, .steps = 150000, .warmup = 40000};
    EXPECT_EQ(learning_rate(schedule, 0), 0.0);
    EXPECT_DOUBLE_EQ(learning_rate(schedule, 1), 0.002 / 40000);
    EXPECT_DOUBLE_EQ(learning_rate(schedule, 20000), 0.001);
    EXPECT_DOUBLE_EQ(learning_rate(schedule, 39999), 0.002 * 39999 / 40000);
    // The decay counts from step 0: at the end of the warm-up the rate falls from 0.002 to 0.00147.
    EXPECT_DOUBLE_EQ(learning_rate(schedule, 40000), 0.002 * (1.0 - 40000.0 / 150000.0));
    EXPECT_DOUBLE_EQ(learning_rate(schedule, 149999), 0.002 * (1.0 - 149999.0 / 150000.0));
    EXPECT_EQ(learning_rate(schedule, 150000), 0.0);
    EXPECT_EQ(learning_rate(schedule, 200000), 0.0);
}

TEST(Schedule, WithoutWarmupStartsAtThePeak) {
    const Schedule schedule = {.peak = 0.1, .steps = 10, .warmup = 0};
    EXPECT_DOUBLE_EQ(learning_rate(schedule, 0), 0.1);
    EXPECT_DOUBLE_EQ(learning_rate(schedule, 5), 0.05);
}

TrainSettings read(const std::string& text) {
    Deck deck = Deck::parse(text, "deck.toml");
    TrainSettings settings = read_train_settings(deck);
    deck.refuse_unknown_keys();
    return settings;
}

TEST(TrainSettings, EveryKey) {
    const TrainSettings settings = read(R"(
[data]
corpus = "c.h5"
validation = "v.h5"
max_length = 300
objective = "nsp"
masked_fraction = 0.2
ngram = 2
short_fraction = 0.05
seed = 7
[train]
global_batch = 10753
steps = 99
warmup = 11
learning_rate = 0.25
optimizer = "adamw"
weight_decay = 0.5
clip = 2.5
precision = "bfloat16"
batch_tokens = 1234
reproducible = false
[checkpoint]
directory = "d"
every = 8
keep = 5
[run]
time_limit = "01:30:00"
log_every = 3
validate_every = 4
validation_sequences = 6
metrics = "m.jsonl"
)");
    EXPECT_EQ(settings.corpus, "c.h5");
    EXPECT_EQ(settings.validation, "v.h5");
    EXPECT_EQ(settings.sample.max_length, 300);
    EXPECT_EQ(settings.sample.objective, Objective::nsp);
    EXPECT_EQ(settings.sample.masked_fraction, 0.2);
    EXPECT_EQ(settings.sample.ngram, 2);
    EXPECT_EQ(settings.sample.short_fraction, 0.05);
    EXPECT_EQ(settings.sample.seed, 7U);
    EXPECT_EQ(settings.global_batch, 10753);
    EXPECT_EQ(settings.schedule.steps, 99);
    EXPECT_EQ(settings.schedule.warmup, 11);
    EXPECT_EQ(settings.schedule.peak, 0.25);
    EXPECT_EQ(settings.optimizer, OptimizerKind::adamw);
    EXPECT_EQ(settings.weight_decay, 0.5);
    EXPECT_EQ(settings.clip, 2.5);
    EXPECT_EQ(settings.precision, Precision::bfloat16);
    EXPECT_EQ(settings.batch_tokens, 1234);
    EXPECT_EQ(settings.directory, "d");
    EXPECT_EQ(settings.checkpoint_every, 8);
    EXPECT_EQ(settings.keep, 5);
    EXPECT_EQ(settings.time_limit, 5400);
    EXPECT_EQ(settings.log_every, 3);
    EXPECT_EQ(settings.validate_every, 4);
    EXPECT_EQ(settings.validation_sequences, 6);
    EXPECT_EQ(settings.metrics, "m.jsonl");
}

TEST(TrainSettings, Defaults) {
    const TrainSettings settings = read("[data]\ncorpus = 'c.h5'\n[checkpoint]\ndirectory = 'run'\n");
    EXPECT_EQ(settings.metrics, "run/metrics.jsonl");
    EXPECT_EQ(settings.optimizer, OptimizerKind::lamb);
    EXPECT_EQ(settings.schedule.steps, 125000);
    EXPECT_EQ(settings.schedule.warmup, 3125);
    EXPECT_GE(settings.batch_tokens, settings.sample.max_length);
}

std::string message(const std::string& text) {
    try {
        read(text);
    } catch (const InputError& error) {
        return error.what();
    }
    return "no error";
}

TEST(TrainSettings, MistakesNameTheKey) {
    const auto expect = [](const std::string& text, const std::string& part) {
        EXPECT_NE(message(text).find(part), std::string::npos) << message(text);
    };
    const std::string corpus = "data.corpus = 'c.h5'\n";
    expect("", "data.corpus");
    expect(corpus + "train.steps = 0", "train.steps");
    expect(corpus + "train.stepz = 10", "train.steps");
    expect(corpus + "train.optimizer = 'sgd'", "train.optimizer");
    expect(corpus + "data.masked_fraction = 1.5", "data.masked_fraction");
    expect(corpus + "data.objective = 'soq'", "data.objective");
    expect(corpus + "run.time_limit = 'soon'", "run.time_limit");
    expect(corpus + "checkpoint.directory = ''", "checkpoint.directory");
}

}  // namespace
}  // namespace protalbert
