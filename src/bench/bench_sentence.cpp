// protalbert_bench sentence: a trained model on held-out proteins: masked residues, and both sentence tasks, whichever
// it was trained for. Its sentence head answers the other task's question as it stands, as in table 5 of the ALBERT
// paper: label 1 is "swapped" for sop and "of another protein" for nsp.

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/progress.hpp"
#include "bench/bench.hpp"
#include "comm/local_gpu.hpp"
#include "data/corpus.hpp"
#include "embed/embedder.hpp"
#include "model/cost.hpp"
#include "model/weight_source.hpp"
#include "train/validation.hpp"

namespace protalbert {
namespace {

struct Options {
    std::string checkpoint;
    std::string corpus;
    std::int64_t length = 512;
    std::int64_t sequences = 2048;
    std::uint64_t seed = SampleSettings{}.seed;
    std::string device = "cpu";
};

/// The checkpoint's model with its weights. Throws InputError when it reads other pieces than the corpus, or shorter
/// samples than asked for.
Model load_model(const Options& options, const Corpus& corpus, Backend& backend, const Communicator& communicator) {
    const WeightSource source = open_weights(options.checkpoint, communicator);
    const ModelConfig config = config_from_json(source.header.config, source.place);
    if (source.header.vocabulary != corpus.vocabulary().pieces)
        throw InputError(fmt::format("--corpus {} was prepared with another vocabulary than {} has; prepare it again",
                                     options.corpus, source.place));
    if (options.length > config.positions)
        throw InputError(fmt::format("--length is {}, but the model of {} has {} positions; give at most that",
                                     options.length, source.place, config.positions));
    Model model = make_model(config, backend);
    load_parameters(model, source, communicator);
    return model;
}

void run(const Options& options, BenchRun& bench) {
    const Communicator& communicator = bench.communicator;
    const Corpus corpus(options.corpus, communicator);
    const std::unique_ptr<Backend> backend = make_rank_backend(options.device, Precision::float32, communicator);
    const Model model = load_model(options, corpus, *backend, communicator);
    const SampleCost cost = [&model](std::int64_t length) { return time_cost(model.config, length); };

    TrainSettings settings;
    settings.sample.max_length = options.length;
    settings.sample.seed = options.seed;
    settings.validation_sequences = options.sequences;
    settings.batch_tokens = std::max(settings.batch_tokens, options.length);

    log_information(fmt::format("{} on at most {} proteins of {}", options.checkpoint,
                                format_count(static_cast<std::uint64_t>(options.sequences)), options.corpus));
    log_information(fmt::format("{:<8} {:>14} {:>16} {:>14} {:>17} {:>10}", "samples", "masked loss", "masked accuracy",
                                "sentence loss", "sentence accuracy", "sequences"));
    bench.report = {{"checkpoint", options.checkpoint}, {"corpus", options.corpus}, {"length", options.length}};
    for (const Objective objective : {Objective::none, Objective::nsp, Objective::sop}) {
        settings.sample.objective = objective;
        StepWorkspace workspace = make_step_workspace(model, micro_batch_limits(settings), false, communicator);
        const Validation validation = prepare_validation(corpus, settings, cost, communicator);
        const Losses losses = validate(validation, model, workspace, communicator);
        nlohmann::json figures = {
            {"masked", validation.masked}, {"mlm_loss", losses.masked}, {"mlm_accuracy", losses.masked_accuracy}};
        std::string sentence;
        if (losses.has_sentence) {
            figures["sentences"] = validation.sentences;
            figures["sentence_loss"] = losses.sentence;
            figures["sentence_accuracy"] = losses.sentence_accuracy;
            sentence = fmt::format(" {:>14.4f} {:>15.2f} % {:>10}", losses.sentence, 100 * losses.sentence_accuracy,
                                   validation.sentences);
        }
        log_information(fmt::format("{:<8} {:>14.4f} {:>14.2f} %{}", objective_name(objective), losses.masked,
                                    100 * losses.masked_accuracy, sentence));
        bench.report[objective_name(objective)] = figures;
        if (objective == Objective::sop)
            bench.figure = {"sop_accuracy", losses.sentence_accuracy, "of held-out pairs in order or swapped"};
    }
}

}  // namespace

BenchAction add_bench_sentence(CLI::App& command) {
    const auto options = std::make_shared<Options>();
    command.add_option("--checkpoint", options->checkpoint, "checkpoint (file or folder) or Hugging Face folder")
        ->required();
    command.add_option("--corpus", options->corpus, "held-out proteins, as protalbert_prepare --holdout makes them")
        ->required();
    command.add_option("--length", options->length, "longest sample, tokens")
        ->capture_default_str()
        ->check(CLI::Range(5, 1 << 24));
    command.add_option("--sequences", options->sequences, "how many proteins at most")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    command.add_option("--seed", options->seed, "of cuts, swaps, partners and masks")->capture_default_str();
    command.add_option("--device", options->device, "auto, cpu or cuda")->capture_default_str();
    return [options](BenchRun& bench) { run(*options, bench); };
}

}  // namespace protalbert
