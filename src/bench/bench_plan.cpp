// protalbert_bench plan: what the run of a deck will cost on a machine of given rates, by bench/step_model.hpp.

#include <fmt/format.h>

#include <memory>

#include "base/log.hpp"
#include "base/progress.hpp"
#include "bench/bench.hpp"
#include "bench/length_model.hpp"
#include "bench/step_model.hpp"
#include "comm/number_range.hpp"
#include "comm/program.hpp"
#include "data/vocabulary.hpp"
#include "model/cost.hpp"
#include "train/train_memory.hpp"
#include "train/train_step.hpp"

namespace protalbert {
namespace {

struct Options {
    std::string deck;
    std::vector<std::string> overrides;
    std::vector<int> ranks = {8};
    int steps = 3;
    MachineRates rates;
    LengthModel lengths;
};

void run(Options& options, BenchRun& bench) {
    Deck deck = Deck::read(options.deck, options.overrides);
    deck.use_variables(root_variables(bench.communicator));
    const TrainSettings settings = read_train_settings(deck);
    const ModelConfig config = read_model_config(deck, default_vocabulary().size());
    deck.refuse_unknown_keys();
    read_lengths(options.lengths, bench.communicator);
    const MicroBatchLimits limits = micro_batch_limits(settings);
    const std::int64_t element_bytes = settings.precision == Precision::float32 ? 4 : 2;
    const MemoryEstimate parts = training_memory(config, limits.tokens, limits.sequences, limits.masked, element_bytes);
    const auto bytes = static_cast<double>(train_memory_bytes(config, settings, element_bytes));
    const double rest = bytes - static_cast<double>(parts.parameters + parts.optimizer + parts.activations);
    const MachineRates& rates = options.rates;

    log_information(
        fmt::format("predicted for {}: {} steps of {} sequences; rates of a rank: {:.4g} FLOP/s, memory {:.4g} B/s, "
                    "link {:.4g} B/s, latency {:.3g} s, reading {:.4g} B/s; disk {:.4g} B/s over all; lengths {}",
                    options.deck, settings.schedule.steps, settings.global_batch, rates.flops, rates.memory, rates.link,
                    rates.latency, rates.read, rates.disk, options.lengths.description()));
    for (const std::string& formula : formulas()) log_information("  " + formula);
    log_information(fmt::format(
        "memory a rank, micro-batches of {} tokens: {} = weights {}, gradients and moments {}, activations {}, {} {}",
        limits.tokens, format_bytes(bytes), format_bytes(static_cast<double>(parts.parameters)),
        format_bytes(static_cast<double>(parts.optimizer)), format_bytes(static_cast<double>(parts.activations)),
        settings.reproducible ? "exact sums and batch" : "batch", format_bytes(rest)));
    log_information(
        "| ranks | sequences a rank | tokens | step ms | compute | imbalance | reduction | optimizer | reading | "
        "checkpoint | efficiency | tokens/s | hours |");
    log_information("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (const int ranks : options.ranks) {
        const StepPrediction step = predict_step(config, settings, options.lengths, rates, ranks, options.steps);
        const double hours = static_cast<double>(settings.schedule.steps) * step.seconds() / 3600;
        log_information(fmt::format(
            "| {} | {:.1f} | {:.0f} | {:.4g} | {:.4g} | {:.3g} | {:.3g} | {:.3g} | {:.3g} | {:.3g} | {:.1f} % | "
            "{:.4g} | {:.4g} |",
            ranks, static_cast<double>(settings.global_batch) / ranks, step.tokens / ranks, 1e3 * step.seconds(),
            1e3 * step.compute, 1e3 * step.imbalance, 1e3 * step.reduction, 1e3 * step.optimizer, 1e3 * step.reading,
            1e3 * step.checkpoint, 100 * step.efficiency(), step.tokens / step.seconds(), hours));
        const nlohmann::json line = {{"planned_ranks", ranks},
                                     {"step_seconds", step.seconds()},
                                     {"compute_seconds", step.compute},
                                     {"imbalance_seconds", step.imbalance},
                                     {"reduction_seconds", step.reduction},
                                     {"optimizer_seconds", step.optimizer},
                                     {"reading_seconds", step.reading},
                                     {"checkpoint_seconds", step.checkpoint},
                                     {"efficiency", step.efficiency()},
                                     {"memory_bytes", bytes},
                                     {"hours", hours}};
        bench.report.push_back(line);
        bench.figure = {"predicted_tokens_per_second", step.tokens / step.seconds(), "real tokens/s", line};
    }
}

}  // namespace

BenchAction add_bench_plan(CLI::App& command) {
    const auto options = std::make_shared<Options>();
    command.add_option("--deck", options->deck, "TOML deck of the run; its corpus is not opened")->required();
    command.add_option("--set", options->overrides, "key=value, instead of the deck's (repeatable)")
        ->allow_extra_args(false);
    command.add_option("--gpus,--ranks", options->ranks, "numbers of ranks, a line of the table each")
        ->capture_default_str()
        ->check(CLI::Range(1, 1000000));
    MachineRates& rates = options->rates;
    const auto rate = [&](const char* name, double& value, const char* what) {
        command.add_option(name, value, what)->capture_default_str()->check(positive_number());
    };
    rate("--flops", rates.flops,
         "model FLOP/s of a rank at about as many tokens a step: train's model_flops_per_second, without the rest");
    rate("--memory", rates.memory, "bytes/s of a rank's memory: 44 bytes a parameter over train's optimizer_seconds");
    rate("--link", rates.link, "bytes/s of a rank's link in sums: collectives");
    rate("--latency", rates.latency, "seconds of the sum of one number: collectives");
    rate("--disk", rates.disk, "bytes/s of all ranks writing a checkpoint: io --checkpoint");
    rate("--read", rates.read, "bytes/s of a rank reading the corpus: io");
    command.add_option("--steps", options->steps, "steps whose lengths are drawn")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    add_length_options(command, options->lengths);
    return [options](BenchRun& bench) { run(*options, bench); };
}

}  // namespace protalbert
