#include "train/report.hpp"

#include <fmt/format.h>

#include "base/log.hpp"
#include "base/progress.hpp"
#include "comm/program.hpp"
#include "model/cost.hpp"

namespace protalbert {

namespace {

std::string format_count(double number) { return protalbert::format_count(static_cast<std::uint64_t>(number)); }

void report_corpus(const char* what, const Corpus& corpus) {
    log_information(fmt::format("{} {}: {} sequences, {} residues; composition entropy {:.4f} nats", what,
                                corpus.path(), protalbert::format_count(corpus.sequences()),
                                protalbert::format_count(corpus.residues()), corpus.composition_entropy()));
}

const char* optimizer_name(OptimizerKind kind) { return kind == OptimizerKind::lamb ? "LAMB" : "AdamW"; }

}  // namespace

void report_setup(const TrainState& state, const TrainSettings& settings, const Corpus& corpus,
                  const Corpus* validation, int threads, const Communicator& communicator) {
    log_information(program_version());
    log_information(fmt::format("{} {} x {} {}, {}", communicator.ranks(), communicator.ranks() == 1 ? "rank" : "ranks",
                                threads, threads == 1 ? "thread" : "threads", state.model.backend->description()));
    report_corpus("corpus", corpus);
    if (validation)
        report_corpus("validation corpus", *validation);
    else
        log_information("no validation corpus (data.validation)");
    const ModelConfig& config = state.model.config;
    log_information(parameter_table(state.model.layout, config));
    const MicroBatchLimits limits = micro_batch_limits(settings);
    const MemoryEstimate memory =
        training_memory(config, limits.tokens, limits.sequences, limits.masked, state.model.backend->element_bytes());
    const auto bytes = [](std::int64_t count) { return format_bytes(static_cast<double>(count)); };
    log_information(fmt::format(
        "memory a rank: {} parameters, {} gradients and moments, {} activations of a micro-batch of {} tokens",
        bytes(memory.parameters), bytes(memory.optimizer), bytes(memory.activations),
        protalbert::format_count(static_cast<std::uint64_t>(limits.tokens))));
}

void report_start(const Start& start, const TrainState& state, const TrainSettings& settings) {
    switch (start.kind) {
        case StartKind::fresh:
            log_information("random initial parameters");
            break;
        case StartKind::initialised:
            log_information(fmt::format("initial parameters from {}", start.checkpoint.string()));
            break;
        case StartKind::resumed:
            log_information(fmt::format("continuing {} after step {}", start.checkpoint.string(), state.step));
            break;
    }
    const Schedule& schedule = settings.schedule;
    log_information(fmt::format(
        "{} steps of {} sequences of at most {} tokens, objective {}; {}, learning rate {} after {} steps of warm-up",
        schedule.steps, settings.global_batch, settings.sample.max_length, objective_name(settings.sample.objective),
        optimizer_name(settings.optimizer), schedule.peak, schedule.warmup));
    if (schedule.warmup > schedule.steps)
        log_information(fmt::format("train.warmup {} is longer than train.steps {}: the rate never reaches its peak",
                                    schedule.warmup, schedule.steps));
}

std::string step_line(const StepMetrics& metrics, std::int64_t steps) {
    const Losses& losses = metrics.losses;
    std::string line = fmt::format("step {}/{}  loss {:.4f}  mlm {:.4f} ({:.1f} %)", metrics.step, steps,
                                   losses.total(), losses.masked, 100 * losses.masked_accuracy);
    if (losses.has_sentence)
        line += fmt::format("  sop {:.4f} ({:.1f} %)", losses.sentence, 100 * losses.sentence_accuracy);
    line +=
        fmt::format("  norm {:.3f}  lr {:.2e}  {:.0f} ms  {} tokens/s", metrics.gradient_norm, metrics.learning_rate,
                    1000 * metrics.seconds, format_count(static_cast<double>(metrics.tokens) / metrics.seconds));
    return line;
}

std::string validation_line(const Losses& losses) {
    std::string line = fmt::format("validation  loss {:.4f}  mlm {:.4f} ({:.1f} %)", losses.total(), losses.masked,
                                   100 * losses.masked_accuracy);
    if (losses.has_sentence)
        line += fmt::format("  sop {:.4f} ({:.1f} %)", losses.sentence, 100 * losses.sentence_accuracy);
    return line;
}

void report_end(const RunTotals& totals) {
    if (totals.steps == 0) return;
    log_information(
        fmt::format("{} steps, {} sequences, {} tokens in {}: {} tokens/s, {:.1f} model GFLOP/s; {:.1f} % of the time "
                    "waiting for batches, {:.1f} % for other ranks' gradients",
                    protalbert::format_count(totals.steps), protalbert::format_count(totals.sequences),
                    format_count(totals.tokens), format_duration(totals.seconds),
                    format_count(totals.tokens / totals.seconds), 1e-9 * totals.flops / totals.seconds,
                    100 * totals.data_wait / totals.seconds, 100 * totals.reduction_wait / totals.seconds));
    if (totals.skipped > 0)
        log_information(fmt::format("{} steps were skipped: their loss or gradient was not finite",
                                    protalbert::format_count(totals.skipped)));
}

void report_final_validation(const Losses& losses, const Corpus& corpus) {
    const double entropy = corpus.composition_entropy();
    const double gain = entropy - losses.masked;
    log_information(fmt::format(
        "final validation: masked residues {:.4f} nats, {:.4f} {} the {:.4f} nats of the composition alone; {:.1f} % "
        "right{}",
        losses.masked, gain < 0 ? -gain : gain, gain < 0 ? "above" : "below", entropy, 100 * losses.masked_accuracy,
        losses.has_sentence ? fmt::format("; sentence task {:.4f} nats, {:.1f} % right", losses.sentence,
                                          100 * losses.sentence_accuracy)
                            : std::string()));
}

}  // namespace protalbert
