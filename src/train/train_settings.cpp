#include "train/train_settings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/error.hpp"

namespace protalbert {

namespace {

constexpr std::int64_t any_integer = std::numeric_limits<std::int64_t>::max();
/// Steps and batches whose product still counts samples without overflow.
constexpr std::int64_t largest_count = std::int64_t{1} << 31;

SampleSettings read_sample_settings(Deck& deck) {
    SampleSettings sample;
    // Two residues and three special tokens are the shortest pair; the packed batch counts tokens in 32 bits.
    sample.max_length = deck.integer("data.max_length", sample.max_length, 5, std::int64_t{1} << 24);
    sample.objective = parse_objective(deck.choice("data.objective", "sop", {"sop", "nsp", "none"}));
    sample.masked_fraction = deck.number("data.masked_fraction", sample.masked_fraction, 0.0, 1.0);
    sample.ngram = static_cast<int>(deck.integer("data.ngram", sample.ngram, 1, 64));
    sample.short_fraction = deck.number("data.short_fraction", sample.short_fraction, 0.0, 1.0);
    sample.seed =
        static_cast<std::uint64_t>(deck.integer("data.seed", static_cast<std::int64_t>(sample.seed), 0, any_integer));
    check_sample_settings(sample);
    return sample;
}

void read_training(Deck& deck, TrainSettings& settings) {
    settings.global_batch = deck.integer("train.global_batch", settings.global_batch, 1, largest_count);
    Schedule& schedule = settings.schedule;
    schedule.steps = deck.integer("train.steps", schedule.steps, 1, largest_count);
    schedule.warmup = deck.integer("train.warmup", std::min(schedule.warmup, schedule.steps / 40), 0, largest_count);
    schedule.peak = deck.number("train.learning_rate", schedule.peak, 0.0, std::numeric_limits<float>::max());
    settings.optimizer = deck.choice("train.optimizer", "lamb", {"lamb", "adamw"}) == "lamb" ? OptimizerKind::lamb
                                                                                             : OptimizerKind::adamw;
    settings.weight_decay = deck.number("train.weight_decay", settings.weight_decay, 0.0, 1.0);
    settings.clip = deck.number("train.clip", settings.clip, 0.0, std::numeric_limits<float>::max());
    settings.precision = deck.choice("train.precision", "float32", {"float32", "bfloat16"}) == "float32"
                             ? Precision::float32
                             : Precision::bfloat16;
    settings.batch_tokens = deck.integer(
        "train.batch_tokens", std::max(settings.batch_tokens, settings.sample.max_length), 1, std::int64_t{1} << 30);
    settings.reproducible = deck.flag("train.reproducible", settings.reproducible);
}

}  // namespace

TrainSettings read_train_settings(Deck& deck) {
    TrainSettings settings;
    settings.corpus = deck.required_path("data.corpus");
    settings.validation = deck.path("data.validation", "");
    settings.sample = read_sample_settings(deck);
    read_training(deck, settings);

    settings.directory = deck.path("checkpoint.directory", "checkpoints");
    if (settings.directory.empty())
        throw InputError(fmt::format("{} is empty; name a folder", deck.place("checkpoint.directory")));
    settings.checkpoint_every = deck.integer("checkpoint.every", settings.checkpoint_every, 0, largest_count);
    settings.keep = static_cast<int>(deck.integer("checkpoint.keep", settings.keep, 1, 1000000));
    settings.keep_every = deck.integer("checkpoint.keep_every", settings.keep_every, 0, largest_count);
    if (settings.keep_every > 0 &&
        (settings.checkpoint_every == 0 || settings.keep_every % settings.checkpoint_every != 0))
        throw InputError(fmt::format("{} is {}: checkpoints are written every {} steps; make it a multiple of that",
                                     deck.place("checkpoint.keep_every"), settings.keep_every,
                                     settings.checkpoint_every));

    settings.time_limit = deck.duration("run.time_limit", 0);
    settings.log_every = deck.integer("run.log_every", settings.log_every, 1, largest_count);
    settings.validate_every = deck.integer("run.validate_every", settings.validate_every, 0, largest_count);
    settings.validation_sequences =
        deck.integer("run.validation_sequences", settings.validation_sequences, 1, largest_count);
    settings.metrics = deck.path("run.metrics", (settings.directory / "metrics.jsonl").string());
    if (settings.metrics.empty()) throw InputError(fmt::format("{} is empty; name a file", deck.place("run.metrics")));
    return settings;
}

LoaderSettings loader_settings(const TrainSettings& settings) {
    return {.sample = settings.sample,
            .global_batch = settings.global_batch,
            .batch_tokens = settings.batch_tokens,
            .blocks = {},
            .reproducible = settings.reproducible};
}

}  // namespace protalbert
