// protalbert_bench simulate: the input side of an epoch without its residues. The order of the epoch, the sharing out
// and the packing are the loader's own code; lengths are drawn (bench/length_model.hpp). One process plays all ranks.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <list>
#include <memory>
#include <numeric>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/progress.hpp"
#include "bench/bench.hpp"
#include "bench/bench_proteins.hpp"
#include "bench/length_model.hpp"
#include "comm/number_range.hpp"
#include "comm/program.hpp"
#include "data/share_out.hpp"
#include "data/step_items.hpp"
#include "model/cost.hpp"
#include "train/train_settings.hpp"

namespace protalbert {
namespace {

struct Options {
    std::string deck;
    std::vector<std::string> overrides;
    int ranks = 512;
    std::uint64_t steps = 0;  // 0: an epoch
    std::vector<double> batches;
    LengthModel lengths;
};

/// Of this thread, so that what else the machine does is not in it.
double processor_seconds() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// The range of attention_slowness: of a CPU, and of the slowest kernels that a GPU may have.
constexpr double fast_attention = 1.4, slow_attention = 4.3;

/// A window's lengths as the ranks would know them, and the sizes of the reads that bring it.
struct SimulatedWindow {
    std::uint32_t epoch;
    std::uint64_t number;
    Window window;
};

/// What the steps so far have shown.
struct Observations {
    std::vector<double> imbalance, bound, seconds;       // of each step
    std::vector<double> imbalance_fast, imbalance_slow;  // had attention another speed than the sharing out assumes
    std::vector<double> reads;                           // bytes of each
    double packing_seconds = 0;                          // of one rank, summed over steps
    std::uint64_t micro_batches = 0, tokens = 0;
    std::size_t most_bytes = 0;  // of one rank's blocks, window tables, items and plans
};

double fraction(std::vector<double> values, double part) {
    std::sort(values.begin(), values.end());
    return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1))];
}
double mean(const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

class Simulation {
  public:
    Simulation(const Options& options, const LoaderSettings& settings, const ModelConfig& config)
        : options_(options),
          settings_(settings),
          config_(config),
          cost_([this](std::int64_t length) { return time_cost(config_, length); }),
          order_(make_epoch_order(options.lengths.sequences, options.lengths.residues(), settings.sample.seed,
                                  settings.blocks)) {}

    const EpochOrder& order() const { return order_; }

    /// Of the rank with the most blocks; it is read once, before the first step.
    std::size_t index_bytes() const {
        std::uint64_t most = 0;
        for (int rank = 0; rank < options_.ranks; ++rank)
            most = std::max(most, read_by(order_, rank, options_.ranks).count);
        return (most + 1) * sizeof(std::uint64_t) + most * sizeof(std::uint32_t);
    }

    /// One step as every rank plans it, and the packing of each rank's share.
    void step(std::uint64_t number, Observations& seen) {
        // Drawing lengths stands for reading, so it is not timed.
        const auto parts = parts_of_step(order_, number, static_cast<std::uint64_t>(settings_.global_batch));
        windows_.remove_if([&](const SimulatedWindow& window) {
            return std::none_of(parts.begin(), parts.end(), [&](const WindowPart& part) {
                return part.window == window.number && window_epoch(order_, part) == window.epoch;
            });
        });
        for (const WindowPart& part : parts) make_window(part, seen);

        const double start = processor_seconds();
        std::vector<StepItem> items;
        items.reserve(static_cast<std::size_t>(settings_.global_batch));
        for (const WindowPart& part : parts) append_items(items, order_, part, find(part));
        const StepPlan plan = plan_step(items, settings_, cost_, options_.ranks);
        seen.seconds.push_back(processor_seconds() - start);

        seen.imbalance.push_back(plan.imbalance);
        seen.imbalance_fast.push_back(imbalance(plan, fast_attention));
        seen.imbalance_slow.push_back(imbalance(plan, slow_attention));
        seen.bound.push_back(least_imbalance(plan));
        std::vector<std::vector<std::int64_t>> shares(static_cast<std::size_t>(options_.ranks));
        for (std::size_t i = 0; i < plan.samples.size(); ++i) {
            shares[plan.rank[i]].push_back(plan.samples[i].length);
            seen.tokens += static_cast<std::uint64_t>(plan.samples[i].length);
        }

        const double packing = processor_seconds();
        if (settings_.reproducible)
            seen.micro_batches += plan.micro_batches.size();
        else
            for (const std::vector<std::int64_t>& lengths : shares)
                seen.micro_batches += group_by_tokens(lengths, settings_.batch_tokens).size();
        seen.packing_seconds += (processor_seconds() - packing) / options_.ranks;

        std::size_t bytes = items.capacity() * sizeof(StepItem) + plan.samples.capacity() * sizeof(SamplePlan) +
                            plan.rank.capacity() * sizeof(std::uint32_t) + items.size() * 2 * sizeof(double);
        for (const SimulatedWindow& window : windows_)
            bytes += window.window.lengths.size() * sizeof(std::uint32_t) +
                     window.window.first.size() * (sizeof(std::uint64_t) + sizeof(int) + sizeof(Corpus::Piece)) +
                     largest_share(window.window);
        seen.most_bytes = std::max(seen.most_bytes, bytes);
    }

  private:
    /// Of the ranks' times, were attention's FLOPs slower than a product's by `slowness`.
    double imbalance(const StepPlan& plan, double slowness) const {
        std::vector<double> loads(static_cast<std::size_t>(options_.ranks), 0.0);
        for (std::size_t i = 0; i < plan.samples.size(); ++i)
            loads[plan.rank[i]] += time_cost(config_, plan.samples[i].length, slowness);
        return *std::max_element(loads.begin(), loads.end()) * options_.ranks /
                   std::accumulate(loads.begin(), loads.end(), 0.0) -
               1;
    }

    /// No sharing out is better than the dearest sample, or micro-batch that is shared out whole, alone on a rank.
    double least_imbalance(const StepPlan& plan) const {
        const auto cost = [&](std::size_t place) { return cost_(plan.samples[place].length); };
        double longest = 0, total = 0;
        for (std::size_t place = 0; place < plan.samples.size(); ++place) {
            longest = std::max(longest, cost(place));
            total += cost(place);
        }
        for (const std::vector<std::uint32_t>& group : plan.micro_batches)
            longest = std::max(longest, std::accumulate(group.begin(), group.end(), 0.0,
                                                        [&](double sum, auto place) { return sum + cost(place); }));
        return std::max(0.0, longest * options_.ranks / total - 1);
    }

    const Window& find(const WindowPart& part) const {
        const auto found = std::find_if(windows_.begin(), windows_.end(), [&](const SimulatedWindow& window) {
            return window.epoch == window_epoch(order_, part) && window.number == part.window;
        });
        PROTALBERT_CHECK(found != windows_.end(), "the windows of a step are made before it");
        return found->window;
    }

    void make_window(const WindowPart& part, Observations& seen) {
        for (const SimulatedWindow& window : windows_)
            if (window.epoch == window_epoch(order_, part) && window.number == part.window) return;
        windows_.push_back({window_epoch(order_, part), part.window,
                            window_of_blocks(order_, part.epoch, part.window, options_.ranks)});
        Window& window = windows_.back().window;
        window.lengths.reserve(window.count);
        for (std::uint64_t run = 0; run < window.first.size(); ++run) {
            double residues = 0;
            for (std::uint64_t i = 0; i < window.run_size(run); ++i) {
                window.lengths.push_back(options_.lengths.length(window.first[run] + i));
                residues += window.lengths.back();
            }
            // The corpus's last block is short, once an epoch.
            if (window.run_size(run) == window.run_length) seen.reads.push_back(residues);
        }
    }

    /// Bytes of the rank that reads the most blocks of a window: residues and their offsets.
    std::size_t largest_share(const Window& window) const {
        const double block =
            settings_.blocks.residues_per_block + static_cast<double>((window.run_length + 1) * sizeof(std::uint64_t));
        return static_cast<std::size_t>(static_cast<double>(blocks_of_busiest_reader(window)) * block);
    }

    const Options& options_;
    const LoaderSettings settings_;
    const ModelConfig& config_;
    const SampleCost cost_;
    const EpochOrder order_;
    std::list<SimulatedWindow> windows_;
};

/// Imbalance of larger batches on as many ranks: which batch would keep them busy.
void try_batches(const Options& options, LoaderSettings settings, const ModelConfig& config, nlohmann::json& report) {
    constexpr std::uint64_t steps = 20;  // the imbalance hardly differs from step to step
    const double batch = static_cast<double>(settings.global_batch);
    for (const double factor : options.batches) {
        settings.global_batch = std::max(1LL, std::llround(factor * batch));
        Simulation simulation(options, settings, config);
        Observations seen;
        for (std::uint64_t step = 0; step < steps; ++step) simulation.step(step, seen);
        log_information(
            fmt::format("  batch {:>9}: {:>5.1f} sequences a rank, imbalance {:>7.2f} %, least possible "
                        "{:>7.2f} %",
                        settings.global_batch, static_cast<double>(settings.global_batch) / options.ranks,
                        100 * mean(seen.imbalance), 100 * mean(seen.bound)));
        report["batches"].push_back(
            {{"batch", settings.global_batch}, {"imbalance", mean(seen.imbalance)}, {"bound", mean(seen.bound)}});
    }
}

void run(Options& options, BenchRun& bench) {
    if (bench.communicator.ranks() > 1)
        throw InputError("simulate plays all ranks itself; start it alone, with --ranks");
    Deck deck = Deck::read(options.deck, options.overrides);
    const TrainSettings training = read_train_settings(deck);
    const ModelConfig config = read_model_config(deck, default_vocabulary().size());
    deck.refuse_unknown_keys();
    const LoaderSettings settings = loader_settings(training);
    read_lengths(options.lengths, bench.communicator);
    Simulation simulation(options, settings, config);
    const EpochOrder& order = simulation.order();
    const std::uint64_t epoch = order.sequences / static_cast<std::uint64_t>(settings.global_batch);
    const std::uint64_t steps = options.steps > 0 ? options.steps : std::max<std::uint64_t>(1, epoch);
    log_information(fmt::format(
        "{} sequences of {:.0f} residues on average ({}): {} blocks in {} windows; {} steps of {} sequences on {} "
        "ranks",
        format_count(order.sequences),
        static_cast<double>(options.lengths.residues()) / static_cast<double>(order.sequences),
        options.lengths.description(), format_count(order.blocks), format_count(order.windows()), format_count(steps),
        settings.global_batch, options.ranks));

    Observations seen;
    Progress progress("simulating", steps, "steps", bench.communicator.root());
    for (std::uint64_t step = 0; step < steps; ++step) {
        simulation.step(step, seen);
        progress.update(step + 1);
    }
    progress.finish();

    const std::size_t index_bytes = simulation.index_bytes();
    const std::size_t rank_bytes = seen.most_bytes + index_bytes;
    const double packing = seen.packing_seconds / static_cast<double>(steps);
    const double sequences = static_cast<double>(settings.global_batch) / options.ranks;
    const double reads = static_cast<double>(seen.reads.size()) / static_cast<double>(steps);
    const auto line = [](const char* what, const std::string& text) {
        log_information(fmt::format("{:<30}{}", what, text));
    };
    line("a rank's share",
         fmt::format("{:.1f} sequences, {:.0f} tokens, {:.2f} micro-batches", sequences,
                     static_cast<double>(seen.tokens) / static_cast<double>(steps) / options.ranks,
                     static_cast<double>(seen.micro_batches) / static_cast<double>(steps) / options.ranks));
    line("imbalance", fmt::format("{:.3f} % on average, {:.3f} % in the worst step", 100 * mean(seen.imbalance),
                                  100 * fraction(seen.imbalance, 1)));
    line("  at other speeds",
         fmt::format("{:.3f} % on average if attention's FLOPs take {} times as long as a product's, "
                     "{:.3f} % if {} times; shared out by {}",
                     100 * mean(seen.imbalance_fast), fast_attention, 100 * mean(seen.imbalance_slow), slow_attention,
                     attention_slowness));
    line("least possible",
         fmt::format(
             "{:.3f} % on average, set by the {}", 100 * mean(seen.bound),
             settings.reproducible ? "micro-batches, which are the same on any number of ranks" : "longest sample"));
    line("time a step and rank",
         fmt::format("{:.2f} ms on one core in the median, 99 % within {:.2f} ms; packing {:.3f} "
                     "ms more",
                     1e3 * median(seen.seconds), 1e3 * fraction(seen.seconds, 0.99), 1e3 * packing));
    line("memory a rank",
         fmt::format("{} at most: blocks, window tables, plans, and {} of the corpus's index, read at the start",
                     format_bytes(static_cast<double>(rank_bytes)), format_bytes(static_cast<double>(index_bytes))));
    if (!seen.reads.empty())
        line("reads", fmt::format("{:.2f} a step over all ranks; {} to {}, {} on average", reads,
                                  format_bytes(fraction(seen.reads, 0)), format_bytes(fraction(seen.reads, 1)),
                                  format_bytes(mean(seen.reads))));
    bench.report = {{"ranks", options.ranks},
                    {"steps", steps},
                    {"imbalance_mean", mean(seen.imbalance)},
                    {"imbalance_worst", fraction(seen.imbalance, 1)},
                    {"imbalance_fast_attention", mean(seen.imbalance_fast)},
                    {"imbalance_slow_attention", mean(seen.imbalance_slow)},
                    {"imbalance_bound", mean(seen.bound)},
                    {"seconds_median", median(seen.seconds)},
                    {"seconds_99", fraction(seen.seconds, 0.99)},
                    {"packing_seconds", packing},
                    {"rank_bytes", rank_bytes},
                    {"index_bytes", index_bytes},
                    {"reads_per_step", reads}};
    if (!seen.reads.empty()) {
        bench.report["read_bytes_least"] = fraction(seen.reads, 0);
        bench.report["read_bytes_mean"] = mean(seen.reads);
    }
    if (!options.batches.empty()) {
        log_information(fmt::format("other batches on {} ranks:", options.ranks));
        try_batches(options, settings, config, bench.report);
    }
    bench.figure = {"imbalance",
                    mean(seen.imbalance),
                    "largest share over the mean, minus 1",
                    {{"simulated_ranks", options.ranks}, {"step_seconds", median(seen.seconds)}}};
}

}  // namespace

BenchAction add_bench_simulate(CLI::App& command) {
    const auto options = std::make_shared<Options>();
    command.add_option("--deck", options->deck, "TOML deck of the run; its corpus is not opened")->required();
    command.add_option("--set", options->overrides, "key=value, instead of the deck's (repeatable)")
        ->allow_extra_args(false);
    command.add_option("--ranks", options->ranks, "to play")->capture_default_str()->check(CLI::Range(1, 1000000));
    command.add_option("--steps", options->steps, "to simulate; an epoch without it")->check(CLI::PositiveNumber);
    command.add_option("--batches", options->batches, "also these multiples of the deck's batch, 20 steps each")
        ->check(number_range(1e-6, 1e6));
    add_length_options(command, options->lengths);
    return [options](BenchRun& bench) { run(*options, bench); };
}

}  // namespace protalbert
