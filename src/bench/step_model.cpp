#include "bench/step_model.hpp"

#include <algorithm>
#include <cmath>

#include "data/share_out.hpp"
#include "data/step_items.hpp"
#include "model/cost.hpp"
#include "model/parameters.hpp"
#include "model/training_workspace.hpp"

namespace protalbert {

namespace {

/// float32 arrays that a step's norm and LAMB read or write (kernels/backend.hpp's sum_of_squares and lamb).
constexpr double optimizer_bytes = 11 * sizeof(float);
/// Parameters and two moments.
constexpr double checkpoint_bytes = 3 * sizeof(float);

/// Blocks that use a part of the model.
double uses(const std::vector<int>& part_of_block, std::size_t part) {
    return static_cast<double>(std::count(part_of_block.begin(), part_of_block.end(), static_cast<int>(part)));
}

/// Seconds from the end of the forward pass until each range of the gradient is final, in the order of gradient_order,
/// for a micro-batch of `tokens` tokens whose passes take `forward` and twice that.
std::vector<double> ready_times(const ModelConfig& config, const ParameterLayout& layout, double tokens, double forward,
                                double flops) {
    const auto H = static_cast<double>(config.hidden), F = static_cast<double>(config.intermediate);
    std::vector<double> products;  // FLOPs of the weight products
    const auto add = [&](const std::vector<int>& part_of_block, std::size_t parts, double elements) {
        for (std::size_t part = 0; part < parts; ++part)
            products.push_back(2 * tokens * elements * uses(part_of_block, part));
    };
    add(layout.feed_forward_of_block, layout.feed_forward.size(), H * F);
    add(layout.feed_forward_of_block, layout.feed_forward.size(), H * F);
    add(layout.attention_of_block, layout.attention.size(), 3 * H * H);
    add(layout.attention_of_block, layout.attention.size(), H * H);
    double weights = 0;
    for (const double product : products) weights += product / flops;
    // Heads at once, embeddings behind all data gradients, which are what remains of the backward pass.
    std::vector<double> ready = {0, std::max(0.0, 2 * forward - weights)};
    for (const double product : products) ready.push_back(ready.back() + product / flops);
    return ready;
}

/// Seconds by which the sums, one after another, end behind the last product.
double exposed(const std::vector<double>& ready, const std::vector<GradientRange>& ranges, double element_bytes,
               const MachineRates& rates, int ranks) {
    const double ring = 2.0 * (ranks - 1) / ranks;
    double end = 0;
    for (std::size_t i = 0; i < ranges.size(); ++i)
        end = std::max(end, ready[i]) + rates.latency +
              ring * static_cast<double>(ranges[i].size) * element_bytes / rates.link;
    return end - ready.back();
}

/// A window's blocks are read at once, while one step is computed.
struct WindowReads {
    double seconds = 0;  ///< of the rank that reads the most of its blocks, on average over windows
    double per_step = 0;
};

WindowReads window_reads(const TrainSettings& settings, const LengthModel& lengths, const MachineRates& rates,
                         int ranks) {
    const LoaderSettings loader = loader_settings(settings);
    const EpochOrder order =
        make_epoch_order(lengths.sequences, lengths.residues(), settings.sample.seed, loader.blocks);
    if (order.windows() == 1) return {};  // read once, before the first step
    const double block = static_cast<double>(lengths.residues()) / static_cast<double>(order.blocks);
    const std::uint64_t windows = std::min<std::uint64_t>(order.windows(), 16);  // the average of as many is steady
    double most = 0;
    for (std::uint64_t number = 0; number < windows; ++number)
        most += static_cast<double>(blocks_of_busiest_reader(window_of_blocks(order, 0, number, ranks))) /
                static_cast<double>(windows);
    return {most * block / rates.read, static_cast<double>(order.windows()) *
                                           static_cast<double>(settings.global_batch) /
                                           static_cast<double>(order.sequences)};
}

}  // namespace

StepPrediction predict_step(const ModelConfig& config, const TrainSettings& settings, const LengthModel& lengths,
                            const MachineRates& rates, int ranks, int steps) {
    StepPrediction step;
    const LoaderSettings loader = loader_settings(settings);
    const SampleCost cost = [&config](std::int64_t length) { return time_cost(config, length); };
    for (int i = 0; i < steps; ++i) {
        StepPlan plan;
        for (std::int64_t place = 0; place < settings.global_batch; ++place) {
            const auto sequence = static_cast<std::uint64_t>(i * settings.global_batch + place);
            plan.samples.push_back(plan_sample(settings.sample, 0, sequence, lengths.length(sequence), sequence + 1,
                                               lengths.length(sequence + 1)));
            step.flops += training_flops(config, plan.samples.back().length) / steps;
            step.tokens += static_cast<double>(plan.samples.back().length) / steps;
        }
        share_step(plan, loader, cost, ranks);
        step.imbalance_fraction += plan.imbalance / steps;
        std::vector<std::int64_t> first;  // lengths of the first rank, which stands for all
        for (std::size_t place = 0; place < plan.samples.size(); ++place)
            if (plan.rank[place] == 0) first.push_back(plan.samples[place].length);
        const double micro_batches = settings.reproducible
                                         ? static_cast<double>(plan.micro_batches.size()) / ranks
                                         : static_cast<double>(group_by_tokens(first, settings.batch_tokens).size());
        step.micro_batches += micro_batches / steps;
    }
    const ParameterLayout layout = make_parameter_layout(config);
    const auto parameters = static_cast<double>(layout.size);
    step.compute = step.flops / ranks / rates.flops;
    step.imbalance = step.compute * step.imbalance_fraction;
    if (ranks > 1) {
        const double last = std::max(1.0, step.micro_batches);  // only the last micro-batch's products hide sums
        step.reduction =
            rates.latency +
            exposed(ready_times(config, layout, step.tokens / ranks / last, step.compute / 3 / last, rates.flops),
                    gradient_order(layout), settings.reproducible ? sizeof(std::int64_t) : sizeof(float), rates, ranks);
    }
    step.optimizer = optimizer_bytes * parameters / rates.memory;
    const WindowReads reads = window_reads(settings, lengths, rates, ranks);
    step.reading =
        std::max(0.0, std::max(1.0, reads.per_step) * reads.seconds - step.seconds()) * std::min(1.0, reads.per_step);
    if (settings.checkpoint_every > 0)
        step.checkpoint = checkpoint_bytes * parameters / rates.disk / static_cast<double>(settings.checkpoint_every);
    return step;
}

std::vector<std::string> formulas() {
    return {
        "compute     FLOPs of the step's real tokens, 3 x forward (src/model/cost.hpp) / ranks / flops",
        "imbalance   compute x (largest share of time / mean - 1), shared out as the loader does",
        "reduction   sums of 2 (n - 1) / n x bytes / link + latency, one after another, from when each weight is done;",
        "            what ends behind the last product counts, and the latency of the losses' sum",
        "optimizer   44 bytes a parameter / memory",
        "reading     the blocks of a window that its busiest rank reads / read, as far as it is longer than the",
        "            rest of the step meanwhile, over the steps of a window",
        "checkpoint  12 bytes a parameter / disk / checkpoint.every"};
}

}  // namespace protalbert
