#include "train/trainer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <thread>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/signals.hpp"
#include "base/timeline.hpp"
#include "comm/program.hpp"
#include "data/batch_loader.hpp"
#include "model/cost.hpp"
#include "train/metrics.hpp"
#include "train/report.hpp"
#include "train/timeline_file.hpp"
#include "train/validation.hpp"

namespace protalbert {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// So many steps in a row that are not finite will not mend themselves: the run has diverged.
constexpr int most_skipped_in_a_row = 10;
/// A disk that has been full at so many intervals will not empty itself: from here on the run would only lose more.
constexpr int most_failed_saves_in_a_row = 3;
/// At a run's end there is no next interval: the next try comes after so many seconds. The grace of a batch system,
/// 30 s, has room for all of them.
constexpr double retry_seconds = 2;

class Trainer {
  public:
    Trainer(TrainState& state, const TrainRun& run);
    int run();

  private:
    StepMetrics step();
    void log_step(const StepMetrics& metrics);
    void validate_now();
    /// Saves the state as that after `step` steps, unless it is there already. Says so and returns false when that
    /// fails.
    bool save(std::uint64_t step);
    /// Saves before the run ends, trying again until too many tries have failed in a row.
    bool save_at_end(std::uint64_t step);
    bool too_many_failed_saves() const { return failed_saves_in_a_row_ >= most_failed_saves_in_a_row; }
    int end_unsaved();
    /// Writes the timeline, if one is being recorded and so many steps are in it, or `at_end` whatever is.
    void write_timeline_when_due(bool at_end);
    /// Before the steps skipped last, which a continued run repeats.
    std::uint64_t last_good_step() const { return state_.step - static_cast<std::uint64_t>(skipped_in_a_row_); }
    bool is_due(std::int64_t every) const { return every > 0 && state_.step % static_cast<std::uint64_t>(every) == 0; }
    bool time_is_up() const;
    int end(int exit_code);

    TrainState& state_;
    const TrainRun& run_;
    const TrainSettings& settings_;
    const Communicator& communicator_;
    const SampleCost cost_;
    StepWorkspace workspace_;
    Validation validation_;
    BatchLoader loader_;                  // after validation_, whose reads would compete with its thread's
    std::optional<MetricsFile> metrics_;  // rank 0's

    RunTotals totals_;
    std::optional<Losses> last_validation_;
    std::optional<std::uint64_t> saved_step_;
    int skipped_in_a_row_ = 0;
    int failed_saves_in_a_row_ = 0;
    bool signal_ = false, time_up_ = false, save_asked_ = false;  // agreed by all ranks
    double longest_step_ = 0, longest_save_ = 0;                  // seconds
};

Trainer::Trainer(TrainState& state, const TrainRun& run)
    : state_(state),
      run_(run),
      settings_(run.settings),
      communicator_(run.communicator),
      cost_([&config = state.model.config](std::int64_t length) { return time_cost(config, length); }),
      workspace_(
          make_step_workspace(state.model, micro_batch_limits(settings_), settings_.reproducible, communicator_)),
      validation_(run.validation ? prepare_validation(*run.validation, settings_, cost_, communicator_) : Validation{}),
      loader_(run.corpus, loader_settings(settings_), cost_, communicator_) {
    on_root(communicator_, [&] { metrics_.emplace(settings_.metrics, state_.step); });
}

/// Whether another step and a save might not fit into the time that is left.
bool Trainer::time_is_up() const {
    return settings_.time_limit > 0 &&
           seconds_since(run_.program_start) + longest_step_ + longest_save_ >= settings_.time_limit;
}

StepMetrics Trainer::step() {
    const auto start = Clock::now();
    const StepBatch& batch = [&]() -> const StepBatch& {
        const Span span(Lane::compute, "wait for the batch");
        return loader_.get(state_.step);
    }();
    const double data_wait = seconds_since(start);
    if (totals_.steps == 0 && communicator_.ranks() > 1)
        log_information(
            fmt::format("the first step's sequences are shared out to {} ranks with an imbalance of {:.2f} %",
                        communicator_.ranks(), 100 * batch.imbalance));
    const bool dumping = run_.dump.step >= 0 && state_.step == static_cast<std::uint64_t>(run_.dump.step);
    const bool recording = dumping && communicator_.root();
    StepRecord record;
    if (recording) {
        record.parameters_before = get_parameters(state_.model);
        record.m_before = download_array(state_.m, state_.model);
        record.v_before = download_array(state_.v, state_.model);
    }

    // 1. Gradients of the global batch, summed over ranks.
    StepSums sums;
    const double wait_before = workspace_.reduction_wait;
    const StepOutcome outcome = compute_gradients(state_, batch, workspace_);
    const double norm = outcome.gradient_norm;
    sums.losses = outcome.losses;
    if (recording) record.gradients = download_array(state_.gradients, state_.model);

    // 2. The ranks agree on the losses, on whether the step counts, and on whether to stop after it.
    for (const PackedBatch& packed : batch.micro_batches)
        for (std::int64_t s = 0; s < packed.sequence_count(); ++s)
            sums.flops += training_flops(state_.model.config, packed.cu_seqlens[s + 1] - packed.cu_seqlens[s]);
    sums.not_finite = std::isfinite(norm) ? 0 : 1;
    sums.signals = caught_signal() ? 1 : 0;
    sums.time_is_up = time_is_up() ? 1 : 0;
    sums.save_asked = communicator_.root() && take_save_request(settings_) ? 1 : 0;
    {
        const Span span(Lane::compute, "losses over ranks");
        sum_over_ranks(sums, communicator_);
    }
    signal_ = sums.signals > 0;
    time_up_ = sums.time_is_up > 0;
    save_asked_ = save_asked_ || sums.save_asked > 0;

    StepMetrics metrics;
    metrics.step = state_.step;
    metrics.tokens = batch.global_tokens;
    metrics.losses = mean_losses(sums.losses, batch.global_masked, batch.global_sentences);
    metrics.gradient_norm = norm;
    metrics.learning_rate = learning_rate(settings_.schedule, static_cast<std::int64_t>(state_.step));
    metrics.flops = sums.flops;
    metrics.skipped = sums.not_finite > 0 || !std::isfinite(metrics.losses.total());

    // 3. The update.
    if (!metrics.skipped) update_parameters(state_, workspace_, settings_, metrics.learning_rate);
    skipped_in_a_row_ = metrics.skipped ? skipped_in_a_row_ + 1 : 0;
    if (dumping) {
        if (recording) record.parameters_after = get_parameters(state_.model);
        write_dump(run_.dump.file, batch, record,
                   {.step = metrics.step,
                    .losses = metrics.losses,
                    .learning_rate = metrics.learning_rate,
                    .gradient_norm = norm,
                    .sentence_task = settings_.sample.objective != Objective::none},
                   state_.model, communicator_);
        log_information(fmt::format("step {} is in {}", metrics.step, run_.dump.file));
    }

    ++state_.step;
    state_.samples += static_cast<std::uint64_t>(batch.global_sequences);
    metrics.samples = state_.samples;
    metrics.seconds = seconds_since(start);
    longest_step_ = std::max(longest_step_, metrics.seconds);

    ++totals_.steps;
    totals_.skipped += metrics.skipped;
    totals_.sequences += static_cast<std::uint64_t>(batch.global_sequences);
    totals_.tokens += static_cast<double>(batch.global_tokens);
    totals_.flops += metrics.flops;
    totals_.seconds += metrics.seconds;
    totals_.data_wait += data_wait;
    totals_.reduction_wait += workspace_.reduction_wait - wait_before;
    metrics.skipped_steps = totals_.skipped;
    return metrics;
}

void Trainer::log_step(const StepMetrics& metrics) {
    const bool last = state_.step >= static_cast<std::uint64_t>(settings_.schedule.steps);
    if (!is_due(settings_.log_every) && !metrics.skipped && !last && totals_.steps > 1) return;
    log_information(step_line(metrics, settings_.schedule.steps));
    if (metrics_) metrics_->write(metrics);
    if (metrics.skipped && communicator_.root())
        log_warning(
            fmt::format("step {} is skipped, {} in a row: its loss or gradient is not finite; the parameters "
                        "stay as they are",
                        metrics.step, skipped_in_a_row_));
}

void Trainer::validate_now() {
    const Span span(Lane::compute, "validation");
    last_validation_ = validate(validation_, state_.model, workspace_, communicator_);
    log_information(validation_line(*last_validation_));
    if (metrics_) metrics_->write_validation(state_.step - 1, *last_validation_);
}

bool Trainer::save(std::uint64_t step) {
    if (saved_step_ == step) return true;
    const Span span(Lane::io, "checkpoint");
    const auto start = Clock::now();
    const std::uint64_t samples =
        state_.samples - (state_.step - step) * static_cast<std::uint64_t>(settings_.global_batch);
    if (metrics_) metrics_->sync();  // a checkpoint's past is in the metrics, whatever happens to the machine
    const SaveResult result = save_state(state_, step, samples, run_.deck, settings_, run_.corpus, communicator_);
    const double seconds = seconds_since(start);
    longest_save_ = std::max(longest_save_, seconds);
    if (result.problem.empty()) {
        saved_step_ = step;
        failed_saves_in_a_row_ = 0;
        log_information(fmt::format("saved {} ({:.2f} s)", result.file.string(), seconds));
        return true;
    }
    ++failed_saves_in_a_row_;
    if (communicator_.root())
        log_warning(
            fmt::format("the state after step {} is not saved, failure {} of {} in a row: {}; older "
                        "checkpoints are untouched",
                        step, failed_saves_in_a_row_, most_failed_saves_in_a_row, result.problem));
    return false;
}

bool Trainer::save_at_end(std::uint64_t step) {
    while (!save(step)) {
        if (too_many_failed_saves()) return false;
        std::this_thread::sleep_for(std::chrono::duration<double>(retry_seconds));
    }
    return true;
}

int Trainer::end_unsaved() {
    if (communicator_.root())
        log_error(
            fmt::format("{} saves in a row have failed: the run ends after step {} with what was saved before; "
                        "make room in {} or mend it, then the same command continues from there",
                        failed_saves_in_a_row_, state_.step, settings_.directory.string()));
    return end(exit_failure);
}

void Trainer::write_timeline_when_due(bool at_end) {
    if (!timeline::is_on() || (!at_end && totals_.steps < static_cast<std::uint64_t>(run_.timeline.steps))) return;
    const std::string problem = write_timeline(run_.timeline.file, communicator_);
    timeline::stop();
    if (problem.empty())
        log_information(fmt::format("the timeline of {} steps is in {}", totals_.steps, run_.timeline.file));
    else if (communicator_.root())
        log_warning("there is no timeline: " + problem);
}

int Trainer::end(int exit_code) {
    write_timeline_when_due(true);
    report_end(totals_);
    if (exit_code == exit_done && last_validation_) report_final_validation(*last_validation_, run_.corpus);
    return exit_code;
}

int Trainer::run() {
    const auto steps = static_cast<std::uint64_t>(settings_.schedule.steps);
    if (!run_.timeline.file.empty()) {
        communicator_.barrier();
        timeline::start();
    }
    while (state_.step < steps) {
        log_step(step());
        const bool last = state_.step == steps;
        if (skipped_in_a_row_ >= most_skipped_in_a_row) {
            if (!save_at_end(last_good_step())) return end_unsaved();
            if (communicator_.root())
                log_error(
                    fmt::format("{} steps in a row were not finite: the run has diverged. The state before them is "
                                "saved; lower train.learning_rate or train.clip, or change data.seed",
                                skipped_in_a_row_));
            return end(exit_failure);
        }
        if (!validation_.batches.empty() && (is_due(settings_.validate_every) || last)) validate_now();
        const bool stopping = !last && (signal_ || time_up_);
        if (last || stopping) {
            if (!save_at_end(last ? state_.step : last_good_step())) return end_unsaved();
        } else if (skipped_in_a_row_ == 0 && (is_due(settings_.checkpoint_every) || save_asked_)) {
            save_asked_ = false;
            if (!save(state_.step) && too_many_failed_saves()) return end_unsaved();
        }
        write_timeline_when_due(false);
        if (stopping) {
            log_information(fmt::format("stopped by {} after step {} of {}; the same command continues",
                                        signal_ ? "a signal" : "the time limit", state_.step, steps));
            return end(exit_stopped);
        }
    }
    return end(exit_done);
}

}  // namespace

int train(TrainState& state, const TrainRun& run) { return Trainer(state, run).run(); }

}  // namespace protalbert
