#include "embed/plan.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "embed/windows.hpp"
#include "model/cost.hpp"

namespace protalbert {
namespace {

/// Of a sequence of so many residues.
std::int64_t tokens_of(std::uint64_t residues) { return static_cast<std::int64_t>(residues) + special_tokens; }

}  // namespace

EmbedPlan plan_batches(const std::vector<std::uint32_t>& lengths, std::int64_t batch_tokens, std::uint64_t longest) {
    if (lengths.size() > std::numeric_limits<std::uint32_t>::max())
        throw InputError("more than 4,294,967,295 proteins in one run; embed the input in several parts");
    EmbedPlan plan;
    plan.longest = longest;
    const std::int64_t window_tokens = longest == without_windows ? batch_tokens : tokens_of(longest);
    plan.windows_together = std::max(std::int64_t{1}, batch_tokens / window_tokens);
    // A stable counting sort, longest first.
    const std::uint32_t most_residues = lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
    std::vector<std::uint64_t> begins(std::size_t{most_residues} + 1, 0);
    for (const std::uint32_t length : lengths) ++begins[length];
    std::uint64_t begin = 0;
    for (std::size_t length = most_residues; length > 0; --length) {
        const std::uint64_t count = begins[length];
        begins[length] = begin;
        begin += count;
    }
    plan.order.resize(begin);
    for (std::size_t i = 0; i < lengths.size(); ++i)
        if (lengths[i] > 0) plan.order[begins[lengths[i]]++] = static_cast<std::uint32_t>(i);

    plan.batches.push_back(0);
    std::int64_t tokens = 0, sequences = 0;
    const auto windowed = [&](std::uint64_t place) { return lengths[plan.order[place]] > longest; };
    const auto close = [&](std::uint64_t end) {
        if (windowed(end - 1)) {
            ++plan.windowed_batches;
            sequences = std::min(sequences, plan.windows_together);
            tokens = sequences * window_tokens;
        }
        plan.most_tokens = std::max(plan.most_tokens, tokens);
        plan.most_sequences = std::max(plan.most_sequences, sequences);
        plan.batches.push_back(end);
        tokens = sequences = 0;
    };
    for (std::uint64_t place = 0; place < plan.order.size(); ++place) {
        const std::uint64_t length = lengths[plan.order[place]];
        const auto windows = static_cast<std::int64_t>(count_windows(length, longest));
        const std::int64_t needed = windows * tokens_of(std::min(length, longest));
        const bool of_another_kind = place > 0 && windowed(place) != windowed(place - 1);
        if (tokens > 0 && (tokens + needed > batch_tokens || of_another_kind)) close(place);
        tokens += needed;
        sequences += windows;
    }
    if (tokens > 0) close(plan.order.size());
    return plan;
}

std::vector<double> batch_costs(const EmbedPlan& plan, const std::vector<std::uint32_t>& lengths,
                                const ModelConfig& config) {
    std::vector<double> costs(plan.batch_count(), 0.0);
    for (std::uint64_t b = 0; b < costs.size(); ++b)
        for (const std::uint32_t protein : plan.batch(b)) {
            const std::uint64_t length = lengths[protein];
            costs[b] += static_cast<double>(count_windows(length, plan.longest)) *
                        time_cost(config, tokens_of(std::min(length, plan.longest)));
        }
    return costs;
}

void append_protein(PackedBatch& batch, std::span<const std::uint8_t> residues, std::uint64_t number,
                    const Vocabulary& vocabulary) {
    batch.tokens.push_back(vocabulary.cls);
    batch.tokens.insert(batch.tokens.end(), residues.begin(), residues.end());
    batch.tokens.push_back(vocabulary.sep);
    const std::int64_t length = static_cast<std::int64_t>(residues.size()) + special_tokens;
    for (std::int64_t i = 0; i < length; ++i) batch.positions.push_back(static_cast<std::int32_t>(i));
    batch.segments.resize(batch.tokens.size(), 0);
    batch.cu_seqlens.push_back(batch.token_count());
    batch.sentence_labels.push_back(-1);
    batch.places.push_back(static_cast<std::uint32_t>(batch.samples.size()));
    batch.samples.push_back(number);
}

}  // namespace protalbert
