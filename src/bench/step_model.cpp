#include "bench/step_model.hpp"

#include <algorithm>
#include <cmath>

#include "data/sample.hpp"
#include "data/share_out.hpp"
#include "model/cost.hpp"
#include "model/parameters.hpp"
#include "model/training_workspace.hpp"

namespace protalbert {

namespace {

/// Reads of blocks go to so many ranks at most: a window's blocks (data/epoch_order.hpp).
constexpr int most_readers = 64;
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
double exposed(const std::vector<double>& ready, const std::vector<GradientRange>& ranges, const MachineRates& rates,
               int ranks) {
    const double ring = 2.0 * (ranks - 1) / ranks;
    double end = 0;
    for (std::size_t i = 0; i < ranges.size(); ++i)
        end = std::max(end, ready[i]) + rates.latency +
              ring * static_cast<double>(ranges[i].size) * sizeof(float) / rates.link;
    return end - ready.back();
}

}  // namespace

StepPrediction predict_step(const ModelConfig& config, const TrainSettings& settings, const LengthModel& lengths,
                            const MachineRates& rates, int ranks, int steps) {
    StepPrediction step;
    double residues = 0;
    for (int i = 0; i < steps; ++i) {
        std::vector<double> costs;
        std::vector<std::int64_t> tokens;
        for (std::int64_t place = 0; place < settings.global_batch; ++place) {
            const auto sequence = static_cast<std::uint64_t>(i * settings.global_batch + place);
            const SamplePlan plan = plan_sample(settings.sample, 0, sequence, lengths.length(sequence), sequence + 1,
                                                lengths.length(sequence + 1));
            tokens.push_back(plan.length);
            costs.push_back(training_flops(config, plan.length));
            step.flops += costs.back() / steps;
            step.tokens += static_cast<double>(plan.length) / steps;
            residues += static_cast<double>(lengths.length(sequence)) / steps;
        }
        double imbalance = 0;
        const std::vector<std::uint32_t> rank_of = share_out(costs, ranks, &imbalance);
        step.imbalance_fraction += imbalance / steps;
        std::vector<std::int64_t> first;  // of the first rank, which stands for all
        for (std::size_t place = 0; place < tokens.size(); ++place)
            if (rank_of[place] == 0) first.push_back(tokens[place]);
        step.micro_batches += static_cast<double>(group_by_tokens(first, settings.batch_tokens).size()) / steps;
    }
    const ParameterLayout layout = make_parameter_layout(config);
    const auto parameters = static_cast<double>(layout.size);
    step.compute = step.flops / ranks / rates.flops;
    step.imbalance = step.compute * step.imbalance_fraction;
    if (ranks > 1) {
        const double last = std::max(1.0, step.micro_batches);  // only the last micro-batch's products hide sums
        step.reduction = rates.latency + exposed(ready_times(config, layout, step.tokens / ranks / last,
                                                             step.compute / 3 / last, rates.flops),
                                                 gradient_order(layout), rates, ranks);
    }
    step.optimizer = optimizer_bytes * parameters / rates.memory;
    const double reading = residues / std::min(ranks, most_readers) / rates.read;
    step.reading = std::max(0.0, reading - step.seconds());
    if (settings.checkpoint_every > 0)
        step.checkpoint = checkpoint_bytes * parameters / rates.disk / static_cast<double>(settings.checkpoint_every);
    return step;
}

std::vector<std::string> formulas() {
    return {
        "compute     FLOPs of the step's real tokens, 3 x forward (src/model/cost.hpp) / ranks / flops",
        "imbalance   compute x (largest share / mean - 1), shared out as the loader does",
        "reduction   sums of 2 (n - 1) / n x bytes / link + latency, one after another, from when each weight is done;",
        "            what ends behind the last product counts, and the latency of the losses' sum",
        "optimizer   44 bytes a parameter / memory",
        "reading     residues of the step / min(ranks, 64) / read, as far as it is longer than the rest",
        "checkpoint  12 bytes a parameter / disk / checkpoint.every"};
}

}  // namespace protalbert
