// protalbert_bench train: training steps of the pretraining model (sample, pack, forward, backward, reduction, LAMB) on
// real or random proteins, with the time of each part.

#include <fmt/format.h>

#include <chrono>
#include <numeric>

#include "base/log.hpp"
#include "base/progress.hpp"
#include "bench/bench.hpp"
#include "bench/bench_proteins.hpp"
#include "comm/gradient_reduction.hpp"
#include "data/sample.hpp"
#include "data/share_out.hpp"
#include "model/cost.hpp"
#include "model/model.hpp"

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
    std::string device = "cpu";
};

/// One step's batch for this rank, and the denominators over all ranks.
struct Step {
    std::vector<PackedBatch> micro_batches;
    std::int64_t tokens = 0, masked = 0, sentences = 0;  // of all ranks
    double flops = 0;
};

Step make_step(const Options& options, const SampleSettings& settings, const ModelConfig& config, std::uint64_t number,
               std::int64_t batch_tokens, const std::vector<std::vector<std::uint8_t>>& proteins,
               const Vocabulary& vocabulary, const Communicator& communicator) {
    Step step;
    std::vector<SamplePlan> plans;
    std::vector<double> costs;
    const std::uint64_t N = proteins.size();
    for (std::int64_t i = 0; i < options.batch; ++i) {
        const std::uint64_t position =
            number * static_cast<std::uint64_t>(options.batch) + static_cast<std::uint64_t>(i);
        const std::uint64_t protein = position % N, partner = (position + 1) % N;
        plans.push_back(plan_sample(settings, static_cast<std::uint32_t>(position / N), protein,
                                    static_cast<std::uint32_t>(proteins[protein].size()), partner,
                                    static_cast<std::uint32_t>(proteins[partner].size())));
        costs.push_back(training_flops(config, plans.back().length));
        step.tokens += plans.back().length;
        step.masked += masked_count(settings, plans.back());
        step.sentences += plans.back().sentence_label >= 0;
        step.flops += costs.back();
    }
    const std::vector<std::uint32_t> ranks = share_out(costs, communicator.ranks());
    std::vector<std::uint32_t> mine;
    std::vector<std::int64_t> lengths;
    for (std::uint32_t i = 0; i < plans.size(); ++i) {
        if (ranks[i] != static_cast<std::uint32_t>(communicator.rank())) continue;
        mine.push_back(i);
        lengths.push_back(plans[i].length);
    }
    for (const std::vector<std::uint32_t>& group : group_by_tokens(lengths, batch_tokens)) {
        PackedBatch& batch = step.micro_batches.emplace_back();
        batch.clear();
        for (const std::uint32_t member : group) {
            const SamplePlan& plan = plans[mine[member]];
            const std::span<const std::uint8_t> partner =
                plan.second_is_other ? std::span(proteins[plan.partner]) : std::span<const std::uint8_t>();
            append_sample(batch, plan, settings, vocabulary, proteins[plan.sequence], partner, mine[member]);
        }
    }
    return step;
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
    const std::unique_ptr<Backend> backend =
        make_backend(options.device, Precision::float32, threads_for_rank(communicator));
    log_information(fmt::format("{}, on {}", describe(config), backend->description()));

    // Products are at their full rate far below it, and ProtAlbert's activations fit a machine of 32 GB.
    constexpr std::int64_t usual_batch_tokens = 8192;
    const std::int64_t batch_tokens = options.batch_tokens > 0 ? std::max(options.batch_tokens, options.length)
                                                               : std::min(options.length * options.batch,
                                                                          std::max(usual_batch_tokens, options.length));
    Model model = make_model(config, *backend);
    set_parameters(model, initial_parameters(model.layout, config, 1));
    const std::size_t bytes = static_cast<std::size_t>(model.layout.size) * sizeof(float);
    DeviceMemory gradients(*backend, bytes), m(*backend, bytes), v(*backend, bytes);
    DeviceMemory sums(*backend, 2 * sizeof(LossSums)), squared_norm(*backend, sizeof(double));
    const std::int64_t most_masked =
        static_cast<std::int64_t>(settings.masked_fraction * static_cast<double>(batch_tokens)) + 2 * options.batch;
    const TrainingWorkspacePointer workspace = make_training_workspace(model, batch_tokens, options.batch, most_masked);
    const StepLosses losses{sums.as<LossSums>(), sums.as<LossSums>() + 1};
    const std::vector<Variable> variables = model.layout.variables();
    GradientReduction reduction(communicator);
    OptimizerStep optimizer;
    optimizer.learning_rate = 1e-4;
    optimizer.squared_norm = squared_norm.as<double>();
    DeviceBatch device_batch;

    std::vector<double> data_seconds, model_seconds, wait_seconds, optimizer_seconds, step_seconds, rates, flop_rates;
    double tokens = 0, loss = 0;
    const auto split = [](Clock::time_point& since) {
        const auto now = Clock::now();
        const double seconds = std::chrono::duration<double>(now - since).count();
        since = now;
        return seconds;
    };
    // The first step, untimed, compiles the products' code and touches all memory.
    for (int number = 0; number <= options.steps; ++number) {
        communicator.barrier();
        const auto start = Clock::now();
        auto since = start;
        const Step step = make_step(options, settings, config, static_cast<std::uint64_t>(number), batch_tokens,
                                    proteins, vocabulary, communicator);
        const double data = split(since);
        backend->set_zero(gradients.data(), bytes, default_stream);
        backend->set_zero(sums.data(), 2 * sizeof(LossSums), default_stream);
        const GradientReady ready = [&](std::int64_t offset, std::int64_t size) {
            if (communicator.ranks() > 1) reduction.start(gradients.as<float>() + offset, size);
        };
        const double masked_scale = 1.0 / static_cast<double>(std::max<std::int64_t>(1, step.masked));
        const double sentence_scale = step.sentences > 0 ? 1.0 / static_cast<double>(step.sentences) : 0.0;
        for (std::size_t i = 0; i < step.micro_batches.size(); ++i) {
            upload_batch(device_batch, step.micro_batches[i], *backend, default_stream);
            forward_backward(model, device_batch, *workspace, gradients.as<float>(), losses, masked_scale,
                             sentence_scale, i + 1 == step.micro_batches.size() ? ready : GradientReady(),
                             default_stream);
        }
        if (step.micro_batches.empty()) announce_gradients(model, ready);
        backend->synchronize(default_stream);
        const double computing = split(since);
        reduction.finish();
        const double waiting = split(since);
        backend->sum_of_squares(squared_norm.as<double>(), gradients.as<float>(), model.layout.size, default_stream);
        backend->lamb(model.parameters.as<float>(), model.copies.data(), m.as<float>(), v.as<float>(),
                      gradients.as<float>(), variables, optimizer, default_stream);
        backend->synchronize(default_stream);
        const double optimizing = split(since);
        LossSums host[2];
        backend->download(host, sums.data(), sizeof host, default_stream);
        double step_loss = host[0].loss * masked_scale + host[1].loss * sentence_scale;
        communicator.sum(&step_loss, 1);
        loss = step_loss;
        if (number == 0) continue;
        double seconds = std::chrono::duration<double>(Clock::now() - start).count();
        communicator.maximum(&seconds, 1);
        data_seconds.push_back(data);
        model_seconds.push_back(computing);
        wait_seconds.push_back(waiting);
        optimizer_seconds.push_back(optimizing);
        step_seconds.push_back(seconds);
        rates.push_back(static_cast<double>(step.tokens) / seconds);
        flop_rates.push_back(step.flops / seconds);
        tokens += static_cast<double>(step.tokens);
    }
    double peak = peak_memory();
    communicator.maximum(&peak, 1);
    const double all_seconds = std::accumulate(step_seconds.begin(), step_seconds.end(), 0.0);

    log_information(fmt::format(
        "{} steps of {} sequences, at most {} tokens each, {} real tokens in all; last loss {:.3f}", options.steps,
        options.batch, options.length, format_count(static_cast<std::uint64_t>(tokens)), loss));
    log_information(fmt::format("real tokens/s     {:12.1f}   over all steps; median step {:.1f}", tokens / all_seconds,
                                median(rates)));
    log_information(fmt::format("model GFLOP/s     {:12.1f}   median", median(flop_rates) * 1e-9));
    const auto line = [&](const char* what, const std::vector<double>& values) {
        log_information(fmt::format("{:<18}{:12.4f} s", what, median(values)));
    };
    line("data", data_seconds);
    line("forward, backward", model_seconds);
    line("reduction wait", wait_seconds);
    line("norm, LAMB", optimizer_seconds);
    line("step", step_seconds);
    log_information(fmt::format("peak memory       {:>12}   a rank", format_bytes(peak)));
    bench.report = {{"steps", options.steps},
                    {"tokens", tokens},
                    {"tokens_per_second", tokens / all_seconds},
                    {"model_flops_per_second", median(flop_rates)},
                    {"data_seconds", median(data_seconds)},
                    {"model_seconds", median(model_seconds)},
                    {"reduction_seconds", median(wait_seconds)},
                    {"optimizer_seconds", median(optimizer_seconds)},
                    {"step_seconds", median(step_seconds)},
                    {"loss", loss},
                    {"peak_bytes", peak}};
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
        ->check(CLI::Range(0.0, 1.0));
    command.add_option("--objective", options->objective, "sop, nsp or none")
        ->capture_default_str()
        ->check(CLI::IsMember({"sop", "nsp", "none"}));
    command.add_option("--device", options->device, "auto, cpu or cuda")->capture_default_str();
    return [options](BenchRun& bench) { run(*options, bench); };
}

}  // namespace protalbert
