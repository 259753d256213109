#pragma once
// A tiny model on a tiny corpus, trained in the test's own process.

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "../loader/test_corpus.hpp"
#include "base/log.hpp"
#include "comm/local_gpu.hpp"
#include "data/corpus.hpp"
#include "kernels/backend.hpp"
#include "model/model.hpp"
#include "train/trainer.hpp"

namespace protalbert::train_test {

inline ModelConfig tiny_config() {
    ModelConfig config;
    config.layers = 3;
    config.hidden = 16;
    config.intermediate = 40;
    config.heads = 4;
    config.embedding = 8;
    config.positions = 128;
    return config;
}

inline TrainSettings tiny_settings(const std::filesystem::path& directory) {
    TrainSettings settings;
    settings.sample.max_length = 64;
    settings.global_batch = 13;   // shared by no number of ranks but 1 and 13
    settings.batch_tokens = 150;  // several micro-batches on a rank
    settings.schedule = {.peak = 0.02, .steps = 8, .warmup = 2};
    settings.directory = directory;
    settings.metrics = directory / "metrics.jsonl";
    settings.checkpoint_every = 100;
    settings.log_every = 100;
    settings.keep = 10;
    return settings;
}

/// Everything a run needs, with random initial parameters unless `start` says otherwise.
struct TinyRun {
    TrainSettings settings;
    const Communicator& communicator;
    Corpus corpus;
    std::unique_ptr<Backend> backend;
    TrainState state;

    TinyRun(const TrainSettings& settings_, const ModelConfig& config, const std::string& corpus_file,
            const Communicator& communicator_, const std::string& device = "cpu",
            Precision precision = Precision::float32)
        : settings(settings_),
          communicator(communicator_),
          corpus(corpus_file, communicator_),
          backend(device == "cpu" ? make_backend(device, precision, 1)
                                  : make_rank_backend(device, precision, communicator_)),
          state(make_train_state(config, *backend)) {
        set_log_rank(communicator.rank(), communicator.ranks());
    }

    Start begin(const StartOptions& options = {}) {
        const Start start = restore_state(state, options, settings, corpus, communicator);
        make_directories(settings, communicator);
        prepare_directory(state, settings, communicator);
        return start;
    }
    int train(const DumpRequest& dump = {}, const Corpus* validation = nullptr) {
        return protalbert::train(state, {.settings = settings,
                                         .deck = "[train]\n",
                                         .corpus = corpus,
                                         .validation = validation,
                                         .dump = dump,
                                         .timeline = {},
                                         .program_start = std::chrono::steady_clock::now(),
                                         .communicator = communicator});
    }
};

}  // namespace protalbert::train_test
