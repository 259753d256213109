#include "data/step_assembly.hpp"

#include <algorithm>
#include <numeric>
#include <span>

#include "base/timeline.hpp"
#include "data/share_out.hpp"

namespace protalbert {

namespace {

/// The residues that a sample takes: one stretch of its protein (both segments, which lie side by side), or the first
/// segment's stretch and one of the partner's. Only they travel, not whole proteins.
struct Stretches {
    std::uint32_t own_start, own_length;
    std::uint32_t partner_start, partner_length;
};

Stretches stretches_of(const SamplePlan& plan) {
    if (plan.second_is_other) return {plan.first_start, plan.first_length, plan.second_start, plan.second_length};
    return {plan.first_start, plan.first_length + plan.second_length, 0, 0};
}

/// The same plan, for proteins of which the sample's stretches alone are at hand.
SamplePlan relative_to_stretches(SamplePlan plan) {
    plan.first_start = 0;
    plan.second_start = plan.second_is_other ? 0 : plan.first_length;
    return plan;
}

void append_bytes(std::vector<std::byte>& bytes, std::span<const std::uint8_t> residues) {
    const auto added = std::as_bytes(residues);
    bytes.insert(bytes.end(), added.begin(), added.end());
}

/// What each rank has sent to this one, taken piece by piece in the order in which it was put together.
class Arrivals {
  public:
    explicit Arrivals(std::vector<std::vector<std::byte>> bytes) : bytes_(std::move(bytes)), taken_(bytes_.size(), 0) {}
    std::span<const std::uint8_t> take(int rank, std::size_t count) {
        const auto all = std::span(reinterpret_cast<const std::uint8_t*>(bytes_[rank].data()), bytes_[rank].size());
        taken_[rank] += count;
        return all.subspan(taken_[rank] - count, count);
    }

  private:
    std::vector<std::vector<std::byte>> bytes_;
    std::vector<std::size_t> taken_;
};

/// Forms the micro-batches of the whole step and shares them out by cost.
void plan_micro_batches(StepPlan& plan, const std::vector<double>& costs, std::int64_t batch_tokens, int ranks) {
    std::vector<std::int64_t> lengths;
    for (const SamplePlan& sample : plan.samples) lengths.push_back(sample.length);
    const std::int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
    plan.micro_batches = group_by_tokens(lengths, reproducible_batch_tokens(tokens, batch_tokens));
    std::vector<double> group_costs;
    for (const std::vector<std::uint32_t>& group : plan.micro_batches)
        group_costs.push_back(std::accumulate(group.begin(), group.end(), 0.0,
                                              [&](double sum, std::uint32_t place) { return sum + costs[place]; }));
    const std::vector<std::uint32_t> rank_of = share_out(group_costs, ranks, &plan.imbalance);
    plan.rank.resize(plan.samples.size());
    for (std::size_t g = 0; g < plan.micro_batches.size(); ++g)
        for (const std::uint32_t place : plan.micro_batches[g]) plan.rank[place] = rank_of[g];
}

/// This rank's micro-batches as indices into `own`, the places [ascending] of its samples in the global batch.
std::vector<std::vector<std::uint32_t>> own_micro_batches(const StepPlan& plan, std::uint32_t rank,
                                                          const std::vector<std::uint32_t>& own) {
    std::vector<std::vector<std::uint32_t>> groups;
    for (const std::vector<std::uint32_t>& group : plan.micro_batches) {
        if (plan.rank[group.front()] != rank) continue;
        std::vector<std::uint32_t>& indices = groups.emplace_back();
        for (const std::uint32_t place : group)
            indices.push_back(
                static_cast<std::uint32_t>(std::lower_bound(own.begin(), own.end(), place) - own.begin()));
    }
    return groups;
}

}  // namespace

StepPlan plan_step(const std::vector<StepItem>& items, const LoaderSettings& settings, const SampleCost& cost,
                   int ranks) {
    StepPlan plan;
    plan.samples.reserve(items.size());
    for (const StepItem& item : items) {
        const Window& window = *item.window;
        const bool alone = item.partner == item.place;
        plan.samples.push_back(plan_sample(settings.sample, item.epoch, window.sequence(item.place),
                                           window.lengths[item.place], window.sequence(item.partner),
                                           alone ? 0 : window.lengths[item.partner]));
    }
    share_step(plan, settings, cost, ranks);
    return plan;
}

void share_step(StepPlan& plan, const LoaderSettings& settings, const SampleCost& cost, int ranks) {
    std::vector<double> costs;
    costs.reserve(plan.samples.size());
    for (const SamplePlan& sample : plan.samples) costs.push_back(cost(sample.length));
    if (settings.reproducible)
        plan_micro_batches(plan, costs, settings.batch_tokens, ranks);
    else
        plan.rank = share_out(costs, ranks, &plan.imbalance);
}

void assemble_step(StepBatch& batch, std::uint64_t step, const std::vector<StepItem>& items,
                   const LoaderSettings& settings, const SampleCost& cost, const Vocabulary& vocabulary,
                   const Communicator& communicator) {
    const int ranks = communicator.ranks();
    const auto rank = static_cast<std::uint32_t>(communicator.rank());
    const StepPlan plan = plan_step(items, settings, cost, ranks);

    batch.step = step;
    batch.imbalance = plan.imbalance;
    batch.global_micro_batches = static_cast<std::int64_t>(plan.micro_batches.size());
    batch.global_sequences = static_cast<std::int64_t>(items.size());
    batch.global_tokens = batch.global_masked = batch.global_sentences = 0;
    // Every rank knows every plan, so the global counts need no message.
    for (const SamplePlan& sample : plan.samples) {
        batch.global_tokens += sample.length;
        batch.global_masked += masked_count(settings.sample, sample);
        batch.global_sentences += sample.sentence_label >= 0;
    }

    std::vector<std::vector<std::byte>> outgoing(static_cast<std::size_t>(ranks));
    std::vector<std::uint32_t> own;  // places in the global batch
    std::vector<std::int64_t> own_lengths;
    for (std::uint32_t i = 0; i < items.size(); ++i) {
        const StepItem& item = items[i];
        const SamplePlan& sample = plan.samples[i];
        const Stretches stretches = stretches_of(sample);
        if (item.window->reader(item.place) == communicator.rank())
            append_bytes(outgoing[plan.rank[i]],
                         item.window->residues(item.place).subspan(stretches.own_start, stretches.own_length));
        if (sample.second_is_other && item.window->reader(item.partner) == communicator.rank())
            append_bytes(
                outgoing[plan.rank[i]],
                item.window->residues(item.partner).subspan(stretches.partner_start, stretches.partner_length));
        if (plan.rank[i] != rank) continue;
        own.push_back(i);
        own_lengths.push_back(sample.length);
    }
    Arrivals arrivals([&] {
        const Span span(Lane::data, "exchange residues");
        return communicator.exchange(outgoing);
    }());

    // The senders went through the step in order, so this rank's samples are found in the same order.
    std::vector<std::span<const std::uint8_t>> residues(own.size()), partners(own.size());
    for (std::size_t i = 0; i < own.size(); ++i) {
        const StepItem& item = items[own[i]];
        const SamplePlan& sample = plan.samples[own[i]];
        const Stretches stretches = stretches_of(sample);
        residues[i] = arrivals.take(item.window->reader(item.place), stretches.own_length);
        if (sample.second_is_other)
            partners[i] = arrivals.take(item.window->reader(item.partner), stretches.partner_length);
    }

    const auto groups = settings.reproducible ? own_micro_batches(plan, rank, own)
                                              : group_by_tokens(own_lengths, settings.batch_tokens);
    batch.micro_batches.resize(groups.size());
    for (std::size_t g = 0; g < groups.size(); ++g) {
        PackedBatch& packed = batch.micro_batches[g];
        packed.clear();
        for (const std::uint32_t i : groups[g])
            append_sample(packed, relative_to_stretches(plan.samples[own[i]]), settings.sample, vocabulary, residues[i],
                          partners[i], own[i]);
    }
}

}  // namespace protalbert
