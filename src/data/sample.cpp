#include "data/sample.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/error.hpp"
#include "base/random.hpp"

namespace protalbert {

namespace {

// plan_sample draws at most this many of the stream's 32-bit numbers (7 draws of 64 bits); masking takes those behind.
constexpr int plan_numbers = 16;

/// Length of the next span at a place with `room` residues to the end: p(n) proportional to 1 / n for n = 1 ..
/// min(ngram, room).
std::int64_t draw_span(RandomStream& random, int ngram, std::int64_t room) {
    const std::int64_t longest = std::min<std::int64_t>(ngram, room);
    double total = 0;
    for (std::int64_t n = 1; n <= longest; ++n) total += 1.0 / static_cast<double>(n);
    double rest = random.uniform() * total;
    for (std::int64_t n = 1; n < longest; ++n) {
        rest -= 1.0 / static_cast<double>(n);
        if (rest < 0) return n;
    }
    return longest;
}

/// Which of `residues` residues are masked, [residues] of 0 or 1, exactly `budget` of them: spans at shuffled starts,
/// cut to the budget, left out where they touch a span taken before. At high masked fractions the starts can run out
/// first; then single residues fill up, in the same shuffled order (the official code masks fewer).
std::vector<std::uint8_t> choose_masked(RandomStream& random, std::int64_t residues, std::int64_t budget, int ngram) {
    std::vector<std::uint8_t> masked(residues, 0);
    std::vector<std::uint32_t> starts(residues);
    std::iota(starts.begin(), starts.end(), 0u);
    std::int64_t left = budget;
    for (std::int64_t i = 0; i < residues && left > 0; ++i) {
        std::swap(starts[i], starts[i + static_cast<std::int64_t>(random.below(residues - i))]);
        const auto first = masked.begin() + starts[i];
        const std::int64_t span = std::min(draw_span(random, ngram, residues - starts[i]), left);
        if (std::find(first, first + span, 1) != first + span) continue;
        std::fill(first, first + span, 1);
        left -= span;
    }
    for (std::int64_t i = 0; i < residues && left > 0; ++i) {
        if (masked[starts[i]]) continue;
        masked[starts[i]] = 1;
        --left;
    }
    return masked;
}

/// 80 % [MASK], 10 % any of all ids (the original included), 10 % kept.
std::int32_t replace(RandomStream& random, std::int32_t token, const Vocabulary& vocabulary) {
    const double chance = random.uniform();
    if (chance < 0.8) return vocabulary.mask;
    if (chance < 0.9) return static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(vocabulary.size())));
    return token;
}

}  // namespace

SamplePlan plan_sample(const SampleSettings& settings, std::uint32_t epoch, std::uint64_t sequence,
                       std::uint32_t length, std::uint64_t partner, std::uint32_t partner_length) {
    RandomStream random(settings.seed, Purpose::sample, epoch, sequence);
    const bool two_segments = settings.objective != Objective::none;
    const std::int64_t special_tokens = two_segments ? 3 : 2;

    SamplePlan plan;
    plan.sequence = sequence;
    plan.epoch = epoch;

    std::uint64_t target = static_cast<std::uint64_t>(settings.max_length - special_tokens);
    if (random.uniform() < settings.short_fraction) target = 2 + random.below(target - 1);
    const auto cropped = static_cast<std::uint32_t>(std::min<std::uint64_t>(length, target));
    plan.first_start = static_cast<std::uint32_t>(random.below(length - cropped + 1));
    plan.first_length = cropped;

    if (two_segments && cropped >= 2) {
        plan.first_length = 1 + static_cast<std::uint32_t>(random.below(cropped - 1));
        plan.second_start = plan.first_start + plan.first_length;
        plan.second_length = cropped - plan.first_length;
        const bool changed = random.below(2) == 1;
        if (settings.objective == Objective::sop) {
            plan.swapped = changed;
        } else if (changed && partner_length > 0) {
            plan.second_is_other = true;
            plan.partner = partner;
            plan.second_length =
                static_cast<std::uint32_t>(std::min<std::uint64_t>(partner_length, target - plan.first_length));
            plan.second_start = static_cast<std::uint32_t>(random.below(partner_length - plan.second_length + 1));
        }
        plan.sentence_label = plan.swapped || plan.second_is_other ? 1 : 0;
    }
    plan.length = special_tokens + plan.first_length + plan.second_length;
    return plan;
}

std::int64_t masked_count(const SampleSettings& settings, const SamplePlan& plan) {
    // nearbyint rounds half to even, as Python's round() in the official code does.
    const double wanted = std::nearbyint(settings.masked_fraction * static_cast<double>(plan.length));
    const std::int64_t residues = std::int64_t{plan.first_length} + plan.second_length;
    return std::min(std::max<std::int64_t>(1, static_cast<std::int64_t>(wanted)), residues);
}

void append_sample(PackedBatch& batch, const SamplePlan& plan, const SampleSettings& settings,
                   const Vocabulary& vocabulary, std::span<const std::uint8_t> residues,
                   std::span<const std::uint8_t> partner, std::uint32_t place) {
    const auto second_protein = plan.second_is_other ? partner : residues;
    PROTALBERT_CHECK(plan.first_start + std::size_t{plan.first_length} <= residues.size() &&
                         plan.second_start + std::size_t{plan.second_length} <= second_protein.size(),
                     "the plan was made for a protein of another length");
    auto first = residues.subspan(plan.first_start, plan.first_length);
    auto second = second_protein.subspan(plan.second_start, plan.second_length);
    if (plan.swapped) std::swap(first, second);

    if (batch.cu_seqlens.empty()) batch.cu_seqlens.push_back(0);
    const std::size_t begin = batch.tokens.size();
    batch.tokens.push_back(vocabulary.cls);
    batch.tokens.insert(batch.tokens.end(), first.begin(), first.end());
    batch.tokens.push_back(vocabulary.sep);
    const std::size_t second_begin = batch.tokens.size();
    if (settings.objective != Objective::none) {
        batch.tokens.insert(batch.tokens.end(), second.begin(), second.end());
        batch.tokens.push_back(vocabulary.sep);
    }
    const std::size_t end = batch.tokens.size();
    batch.segments.resize(second_begin, 0);
    batch.segments.resize(end, 1);
    batch.positions.resize(end);
    std::iota(batch.positions.begin() + static_cast<std::ptrdiff_t>(begin), batch.positions.end(), 0);

    RandomStream random(settings.seed, Purpose::sample, plan.epoch, plan.sequence);
    for (int i = 0; i < plan_numbers; ++i) random.bits32();
    // Spans run over the list of residues, so one may straddle the middle [SEP], as in the official code.
    const std::int64_t residue_count = static_cast<std::int64_t>(first.size() + second.size());
    const auto masked = choose_masked(random, residue_count, masked_count(settings, plan), settings.ngram);
    for (std::size_t i = 0; i < masked.size(); ++i) {
        if (!masked[i]) continue;
        const std::size_t position = i < first.size() ? begin + 1 + i : second_begin + (i - first.size());
        batch.masked_positions.push_back(static_cast<std::int64_t>(position));
        batch.masked_labels.push_back(batch.tokens[position]);
        batch.tokens[position] = replace(random, batch.tokens[position], vocabulary);
    }

    batch.cu_seqlens.push_back(static_cast<std::int64_t>(end));
    batch.sentence_labels.push_back(plan.sentence_label);
    batch.samples.push_back(plan.sequence);
    batch.places.push_back(place);
}

void check_sample_settings(const SampleSettings& settings) {
    // Two residues and three special tokens are the shortest pair.
    if (settings.max_length < 5)
        throw InputError(fmt::format("data.max_length is {}; set it to at least 5", settings.max_length));
    if (!(settings.masked_fraction > 0 && settings.masked_fraction <= 1))
        throw InputError(
            fmt::format("data.masked_fraction is {}; set it above 0 and at most 1", settings.masked_fraction));
    if (settings.ngram < 1) throw InputError(fmt::format("data.ngram is {}; set it to at least 1", settings.ngram));
    if (!(settings.short_fraction >= 0 && settings.short_fraction <= 1))
        throw InputError(fmt::format("data.short_fraction is {}; set it from 0 to 1", settings.short_fraction));
}

Objective parse_objective(const std::string& name) {
    for (const Objective objective : {Objective::sop, Objective::nsp, Objective::none})
        if (name == objective_name(objective)) return objective;
    throw InputError(fmt::format("data.objective is \"{}\"; set it to \"sop\", \"nsp\" or \"none\"", name));
}

const char* objective_name(Objective objective) {
    switch (objective) {
        case Objective::sop:
            return "sop";
        case Objective::nsp:
            return "nsp";
        case Objective::none:
            break;
    }
    return "none";
}

}  // namespace protalbert
