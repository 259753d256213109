// protalbert_pretrain: trains a model as a deck says.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/deck.hpp"
#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/log.hpp"
#include "base/signals.hpp"
#include "comm/local_gpu.hpp"
#include "comm/program.hpp"
#include "comm/run_lock.hpp"
#include "io/checkpoint.hpp"
#include "train/report.hpp"
#include "train/train_memory.hpp"
#include "train/trainer.hpp"

namespace {

using namespace protalbert;

struct Options {
    std::string deck;
    std::vector<std::string> overrides;
    StartOptions start;
    DumpRequest dump;
    TimelineRequest timeline;
    std::string device = "auto";
};

std::optional<int> parse(Options& options, int argc, char** argv, const Communicator& communicator) {
    CLI::App app("Pretrains a protein language model as a deck (TOML) says.", "protalbert_pretrain");
    app.footer(
        "Exit codes: 0 done; 2 bad input or usage; 75 stopped early with the state saved, run me again; 1 anything "
        "else.");
    app.add_option("DECK", options.deck, "TOML deck; input/demo.toml explains every key")->required();
    app.add_option("--set", options.overrides, "key=value, instead of the deck's: --set train.steps=100 (repeatable)")
        ->allow_extra_args(false);
    app.add_option("--resume", options.start.resume,
                   "auto: go on from the newest checkpoint of checkpoint.directory, if there is one; never; or a "
                   "checkpoint (file or folder)")
        ->capture_default_str();
    app.add_option("--init", options.start.init,
                   "take weights alone from a checkpoint (file or folder) or a Hugging Face folder, unless there is a "
                   "checkpoint to resume");
    auto* step = app.add_option("--dump-step", options.dump.step, "write this step, counted from 0, to --dump-file")
                     ->check(CLI::NonNegativeNumber);
    auto* file = app.add_option("--dump-file", options.dump.file, "HDF5 file for --dump-step");
    step->needs(file);
    file->needs(step);
    auto* timeline = app.add_option("--timeline", options.timeline.file,
                                    "write what every rank did when, for chrome://tracing or ui.perfetto.dev (JSON)");
    app.add_option("--timeline-steps", options.timeline.steps, "the first so many steps of this start")
        ->capture_default_str()
        ->check(CLI::Range(1, 10000))
        ->needs(timeline);
    // A job's script may give the machine's device, and its user another one after it.
    app.add_option("--device", options.device, "auto, cpu or cuda")->capture_default_str()->take_last();
    return parse_command_line(app, argc, argv, communicator);
}

void check_lengths(const TrainSettings& settings, const ModelConfig& config, const Deck& deck) {
    if (settings.sample.max_length > config.positions)
        throw InputError(fmt::format("{} is {}, but the model has {} positions; lower it or raise model.positions",
                                     deck.place("data.max_length"), settings.sample.max_length, config.positions));
}

void check_vocabularies(const Corpus& corpus, const Corpus& validation) {
    if (corpus.vocabulary().pieces != validation.vocabulary().pieces)
        throw InputError(fmt::format("{} and {} were prepared with different vocabularies; prepare them again together",
                                     corpus.path(), validation.path()));
}

void check_dump(const DumpRequest& dump, const TrainState& state, const TrainSettings& settings,
                const Communicator& communicator) {
    if (dump.step < 0) return;
    if (dump.step >= settings.schedule.steps || static_cast<std::uint64_t>(dump.step) < state.step)
        throw InputError(fmt::format("--dump-step {}: this run makes the steps {} to {}", dump.step, state.step,
                                     settings.schedule.steps - 1));
    on_root(communicator, [&] { require_writable_place(dump.file, "dump"); });
}

int run(int argc, char** argv, const Communicator& communicator) {
    const auto program_start = std::chrono::steady_clock::now();

    // 1. The command line and the deck.
    Options options;
    if (const auto code = parse(options, argc, argv, communicator)) return *code;
    Deck deck = Deck::read(options.deck, options.overrides);
    deck.use_variables(root_variables(communicator));
    const TrainSettings settings = read_train_settings(deck);
    ModelConfig config = read_model_config(deck, default_vocabulary().size());
    deck.refuse_unknown_keys();
    check_lengths(settings, config, deck);

    // 2. The corpora, which bring the vocabulary.
    for (const char* key : {"data.corpus", "data.validation"})
        if (deck.has(key)) require_readable_file(deck.path(key, ""), deck.place(key) + ": corpus");
    const Corpus corpus(settings.corpus, communicator);
    std::unique_ptr<const Corpus> validation;
    if (!settings.validation.empty()) {
        validation = std::make_unique<const Corpus>(settings.validation, communicator);
        check_vocabularies(corpus, *validation);
    }
    const std::int64_t pieces = corpus.vocabulary().size();
    if (!deck.has("model.vocabulary")) config.vocabulary = pieces;
    if (config.vocabulary < pieces)
        throw InputError(fmt::format("{} is {}, but corpus {} has {} pieces; make it at least as many",
                                     deck.place("model.vocabulary"), config.vocabulary, corpus.path(), pieces));

    // 3. The device and the model.
    const std::unique_ptr<Backend> backend = make_rank_backend(options.device, settings.precision, communicator);
    reserve_train_memory(config, settings, *backend, communicator);
    TrainState state = make_train_state(config, *backend);
    report_setup(state, settings, corpus, validation.get(), threads_for_rank(communicator), communicator);

    // 4. Where to start.
    const std::string folder = settings.directory.string();
    const RunPlace place{settings.directory / ".lock", "in " + folder, "choose another checkpoint.directory"};
    RunLock lock;
    bool new_folder = false;  // rank 0 looks
    on_root(communicator, [&] { new_folder = !std::filesystem::exists(settings.directory); });
    lock.take(place, true, communicator);
    options.start.deck = deck.canonical();
    const Start start = restore_state(state, options.start, settings, corpus, communicator);
    if (state.step >= static_cast<std::uint64_t>(settings.schedule.steps)) {
        log_information(fmt::format("{} holds the state after step {} of {}: nothing is left to do",
                                    start.checkpoint.string(), state.step, settings.schedule.steps));
        return exit_done;
    }
    check_dump(options.dump, state, settings, communicator);
    if (!options.timeline.file.empty())
        on_root(communicator, [&] { require_writable_file(options.timeline.file, "timeline"); });
    make_directories(settings, communicator);
    lock.take(place, true, communicator);
    on_root(communicator, [&] {
        if (new_folder && !list_checkpoints(settings.directory).empty())
            throw InputError(
                fmt::format("another run began in {} while this one started; start again to go on from its last "
                            "checkpoint, or choose another checkpoint.directory",
                            folder));
    });
    prepare_directory(state, settings, communicator);
    report_start(start, state, settings);

    // 5. Training.
    return train(state, {.settings = settings,
                         .deck = deck.canonical(),
                         .corpus = corpus,
                         .validation = validation.get(),
                         .dump = options.dump,
                         .timeline = options.timeline,
                         .program_start = program_start,
                         .communicator = communicator});
}

}  // namespace

int main(int argc, char** argv) {
    // First of all: one rank that a signal ended while MPI starts would leave the others waiting. What came before the
    // first step stops the run after it, with its state saved.
    protalbert::catch_signals();
    protalbert::take_launched_gpu(argc, argv);
    return protalbert::run_program(
        argc, argv, [&](const protalbert::Communicator& communicator) { return run(argc, argv, communicator); });
}
