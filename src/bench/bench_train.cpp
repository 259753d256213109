// protalbert_bench train: training steps of the pretraining model (forward, backward, reduction, LAMB) on real or
// random proteins, with the time of each part, and of sampling and packing, which a run does beside them.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <iterator>
#include <numeric>
#include <optional>

#include "base/log.hpp"
#include "base/progress.hpp"
#include "bench/bench.hpp"
#include "bench/bench_device.hpp"
#include "bench/bench_proteins.hpp"
#include "bench/timed_backend.hpp"
#include "comm/number_range.hpp"
#include "data/sample.hpp"
#include "data/share_out.hpp"
#include "data/step_assembly.hpp"
#include "model/cost.hpp"
#include "model/model.hpp"
#include "train/train_step.hpp"

namespace protalbert {
namespace {

using Clock = std::chrono::steady_clock;
const Stream default_stream{};

struct Options {
    ModelSizes sizes;
    std::string file;
    std::uint64_t proteins = 2000;
    std::int64_t length = 512;
    std::int64_t batch = 16;
    std::int64_t batch_tokens = 0;
    int steps = 5;
    double short_fraction = 0;
    std::string objective = "sop";
    DeviceChoice device;
    bool reproducible = false;
    bool breakdown = false;
};

/// One step's batch for this rank, formed as the loader forms it, and its model's FLOPs over all ranks.
struct Step {
    StepBatch batch;
    double flops = 0;
};

Step make_step(const Options& options, const SampleSettings& settings, const ModelConfig& config, std::uint64_t number,
               bool reproducible, std::int64_t batch_tokens, const std::vector<std::vector<std::uint8_t>>& proteins,
               const Vocabulary& vocabulary, const Communicator& communicator) {
    Step step;
    StepBatch& batch = step.batch;
    StepPlan plan;
    const std::uint64_t N = proteins.size();
    for (std::int64_t i = 0; i < options.batch; ++i) {
        const std::uint64_t position =
            number * static_cast<std::uint64_t>(options.batch) + static_cast<std::uint64_t>(i);
        const std::uint64_t protein = position % N, partner = (position + 1) % N;
        plan.samples.push_back(plan_sample(settings, static_cast<std::uint32_t>(position / N), protein,
                                           static_cast<std::uint32_t>(proteins[protein].size()), partner,
                                           static_cast<std::uint32_t>(proteins[partner].size())));
        const SamplePlan& sample = plan.samples.back();
        batch.global_tokens += sample.length;
        batch.global_masked += masked_count(settings, sample);
        batch.global_sentences += sample.sentence_label >= 0;
        step.flops += training_flops(config, sample.length);
    }
    LoaderSettings sharing;
    sharing.batch_tokens = batch_tokens;
    sharing.reproducible = reproducible;
    share_step(
        plan, sharing, [&](std::int64_t length) { return time_cost(config, length); }, communicator.ranks());
    const auto rank = static_cast<std::uint32_t>(communicator.rank());
    std::vector<std::vector<std::uint32_t>> groups;  // of this rank
    if (reproducible) {
        std::copy_if(plan.micro_batches.begin(), plan.micro_batches.end(), std::back_inserter(groups),
                     [&](const std::vector<std::uint32_t>& group) { return plan.rank[group.front()] == rank; });
        batch.global_micro_batches = std::ssize(plan.micro_batches);
    } else {
        std::vector<std::uint32_t> mine;
        std::vector<std::int64_t> own_lengths;
        for (std::uint32_t i = 0; i < plan.samples.size(); ++i) {
            if (plan.rank[i] != rank) continue;
            mine.push_back(i);
            own_lengths.push_back(plan.samples[i].length);
        }
        groups = group_by_tokens(own_lengths, batch_tokens);
        for (std::vector<std::uint32_t>& group : groups)
            for (std::uint32_t& member : group) member = mine[member];
    }
    for (const std::vector<std::uint32_t>& group : groups) {
        PackedBatch& packed = batch.micro_batches.emplace_back();
        packed.clear();
        for (const std::uint32_t i : group) {
            const SamplePlan& sample = plan.samples[i];
            const std::span<const std::uint8_t> partner =
                sample.second_is_other ? std::span(proteins[sample.partner]) : std::span<const std::uint8_t>();
            append_sample(packed, sample, settings, vocabulary, proteins[sample.sequence], partner, i);
        }
    }
    return step;
}

/// Seconds of the parts of each timed step.
struct Timings {
    std::vector<double> data, model, wait, optimizer, step, rates, flop_rates;
    double tokens = 0, loss = 0;
};

/// The device's time of each operation in one step, which the events around them make a little slower.
void report_breakdown(TimedBackend& backend, const std::function<void()>& step) {
    const std::int64_t slow_before = backend.slow_products();
    backend.start();
    step();
    const std::vector<TimedBackend::Total> totals = backend.stop();
    double all = 0;
    for (const TimedBackend::Total& total : totals) all += total.seconds;
    log_information(fmt::format("{:<30}{:>8}{:>12}{:>9}", "operation, in one step", "calls", "ms", "share"));
    for (const TimedBackend::Total& total : totals)
        log_information(fmt::format("{:<30}{:>8}{:>12.3f}{:>7.1f} %", total.operation, total.calls, 1e3 * total.seconds,
                                    100 * total.seconds / all));
    // They hide among the calls above.
    log_information(fmt::format("{:<30}{:>8}", "products without the library", backend.slow_products() - slow_before));
}

void run(const Options& options, BenchRun& bench) {
    const Communicator& communicator = bench.communicator;
    const Vocabulary vocabulary = default_vocabulary();
    const ModelConfig config = bench_model(options.sizes, vocabulary);
    SampleSettings settings;
    settings.max_length = options.length;
    settings.objective = parse_objective(options.objective);
    settings.short_fraction = options.short_fraction;
    const auto proteins =
        bench_proteins(options.file, options.proteins, static_cast<std::uint64_t>(options.length), true, vocabulary);
    const std::unique_ptr<Backend> made = make_backend(options.device, communicator);
    const auto backend = std::make_unique<TimedBackend>(*made);
    log_information(fmt::format("{}, on {}", describe(config), backend->description()));

    // Products are at their full rate far below it, and ProtAlbert's activations fit a machine of 32 GB.
    constexpr std::int64_t usual_batch_tokens = 8192;
    const std::int64_t batch_tokens = options.batch_tokens > 0 ? std::max(options.batch_tokens, options.length)
                                                               : std::min(options.length * options.batch,
                                                                          std::max(usual_batch_tokens, options.length));
    TrainState state = make_train_state(config, *backend);
    set_parameters(state.model, initial_parameters(state.model.layout, config, 1));
    const std::int64_t most_masked =
        static_cast<std::int64_t>(settings.masked_fraction * static_cast<double>(batch_tokens)) + 2 * options.batch;
    StepWorkspace workspace =
        make_step_workspace(state.model, {.tokens = batch_tokens, .sequences = options.batch, .masked = most_masked},
                            options.reproducible, communicator);
    if (communicator.ranks() > 1)
        log_information(fmt::format("gradients are summed by {}", workspace.reduction.description()));
    std::optional<ExactSums> exact;  // in the workspace during the steps that shall be reproducible
    workspace.exact.swap(exact);
    TrainSettings training;
    constexpr double learning_rate = 1e-4;

    Timings usual, reproducible;
    const auto split = [](Clock::time_point& since) {
        const auto now = Clock::now();
        const double seconds = std::chrono::duration<double>(now - since).count();
        since = now;
        return seconds;
    };
    const auto run_step = [&](int number, bool exactly, Timings& timings) {
        if (exactly) workspace.exact.swap(exact);
        // Not part of the step: a run's loader has the next batch ready when a step ends.
        auto since = Clock::now();
        const Step step = make_step(options, settings, config, static_cast<std::uint64_t>(number), exactly,
                                    batch_tokens, proteins, vocabulary, communicator);
        const double data = split(since);
        communicator.barrier();
        const auto start = Clock::now();
        since = start;
        const double wait_before = workspace.reduction_wait;
        StepSums sums;
        sums.losses = compute_gradients(state, step.batch, workspace).losses;
        const double waiting = workspace.reduction_wait - wait_before;
        const double computing = split(since) - waiting;
        update_parameters(state, workspace, training, learning_rate);
        backend->synchronize(default_stream);
        const double optimizing = split(since);
        sum_over_ranks(sums, communicator);
        timings.loss = mean_losses(sums.losses, step.batch.global_masked, step.batch.global_sentences).total();
        double seconds = std::chrono::duration<double>(Clock::now() - start).count();
        communicator.maximum(&seconds, 1);
        if (exactly) workspace.exact.swap(exact);
        if (number == 0) return;
        timings.data.push_back(data);
        timings.model.push_back(computing);
        timings.wait.push_back(waiting);
        timings.optimizer.push_back(optimizing);
        timings.step.push_back(seconds);
        timings.rates.push_back(static_cast<double>(step.batch.global_tokens) / seconds);
        timings.flop_rates.push_back(step.flops / seconds);
        timings.tokens += static_cast<double>(step.batch.global_tokens);
    };
    // The first step, untimed, compiles the products' code and touches all memory. Both kinds of steps take turns, so
    // that what else the machine does hits them alike.
    for (int number = 0; number <= options.steps; ++number) {
        run_step(number, false, usual);
        if (options.reproducible) run_step(number, true, reproducible);
    }
    double peak = peak_memory();
    communicator.maximum(&peak, 1);
    if (options.breakdown)
        report_breakdown(*backend, [&] {
            Timings untold;
            run_step(options.steps + 1, false, untold);
        });
    const double all_seconds = std::accumulate(usual.step.begin(), usual.step.end(), 0.0);

    log_information(fmt::format(
        "{} steps of {} sequences, at most {} tokens each, {} real tokens in all; last loss {:.3f}", options.steps,
        options.batch, options.length, format_count(static_cast<std::uint64_t>(usual.tokens)), usual.loss));
    log_information(fmt::format("real tokens/s     {:12.1f}   over all steps; median step {:.1f}",
                                usual.tokens / all_seconds, median(usual.rates)));
    log_information(fmt::format("model GFLOP/s     {:12.1f}   median", median(usual.flop_rates) * 1e-9));
    const auto line = [&](const char* what, const std::vector<double>& values, const char* note = "") {
        log_information(fmt::format("{:<18}{:12.4f} s{}", what, median(values), note));
    };
    line("data", usual.data, "   before the step: a run prepares it on another thread beside the step");
    line("gradients, norm", usual.model);
    line("reduction wait", usual.wait);
    line("LAMB", usual.optimizer);
    line("step", usual.step);
    // Of each pair of neighbouring steps, so that a machine that is busy for a while slows both.
    std::vector<double> costs;
    for (std::size_t i = 0; i < reproducible.step.size(); ++i)
        costs.push_back(reproducible.step[i] / usual.step[i] - 1);
    if (options.reproducible) {
        line("reproducible step", reproducible.step);
        log_information(fmt::format("cost              {:12.1f} %   of reproducible steps: median over pairs of steps",
                                    100 * median(costs)));
    }
    log_information(fmt::format("peak memory       {:>12}   a rank", format_bytes(peak)));
    bench.report = {{"steps", options.steps},
                    {"tokens", usual.tokens},
                    {"tokens_per_second", usual.tokens / all_seconds},
                    {"model_flops_per_second", median(usual.flop_rates)},
                    {"data_seconds", median(usual.data)},
                    {"model_seconds", median(usual.model)},
                    {"reduction_seconds", median(usual.wait)},
                    {"optimizer_seconds", median(usual.optimizer)},
                    {"step_seconds", median(usual.step)},
                    {"loss", usual.loss},
                    {"peak_bytes", peak}};
    bench.figure = {"tokens_per_second",
                    usual.tokens / all_seconds,
                    "real tokens/s",
                    {{"batch", options.batch},
                     {"parameters", state.model.layout.count()},
                     {"tokens_per_step", usual.tokens / options.steps},
                     {"step_seconds", median(usual.step)},
                     {"model_seconds", median(usual.model)},
                     {"reduction_seconds", median(usual.wait)},
                     {"optimizer_seconds", median(usual.optimizer)},
                     {"model_flops_per_second", median(usual.flop_rates)}}};
    if (options.reproducible) {
        bench.report["reproducible_step_seconds"] = median(reproducible.step);
        bench.report["reproducible_cost"] = median(costs);
    }
}

}  // namespace

BenchAction add_bench_train(CLI::App& command) {
    const auto options = std::make_shared<Options>();
    add_model_options(command, options->sizes);
    command.add_option("--fasta", options->file, "proteins (random ones without it)");
    command.add_option("--proteins", options->proteins, "how many to take turns with")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    command.add_option("--length", options->length, "longest sample, tokens")
        ->capture_default_str()
        ->check(CLI::Range(4, 1 << 20));
    command.add_option("--batch", options->batch, "sequences a step")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    command.add_option("--batch-tokens", options->batch_tokens, "tokens of a micro-batch")->check(CLI::PositiveNumber);
    command.add_option("--steps", options->steps, "timed steps")->capture_default_str()->check(CLI::PositiveNumber);
    command.add_option("--short-fraction", options->short_fraction, "samples that are shortened at random")
        ->capture_default_str()
        ->check(number_range(0, 1));
    command.add_option("--objective", options->objective, "sop, nsp or none")
        ->capture_default_str()
        ->check(CLI::IsMember({"sop", "nsp", "none"}));
    add_device_options(command, options->device);
    command.add_flag("--breakdown", options->breakdown, "one more step, with the device's time of each operation");
    command.add_flag("--reproducible", options->reproducible,
                     "every second step as with train.reproducible = true, and what that costs");
    return [options](BenchRun& bench) { run(*options, bench); };
}

}  // namespace protalbert
