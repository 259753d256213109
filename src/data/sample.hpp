#pragma once
// One training sample from one protein: cropping, segments, swap, masking, replacement, as in google-research/albert
// create_pretraining_data.py with every residue its own word. A pure function of (seed, epoch, sequence number).

#include <cstdint>
#include <span>
#include <string>

#include "data/packed_batch.hpp"
#include "data/vocabulary.hpp"

namespace protalbert {

enum class Objective {
    sop,  ///< one protein cut into two consecutive segments, swapped half of the time
    nsp,  ///< the second segment comes from another protein half of the time
    none  ///< masked residues alone: [CLS] A [SEP]
};

struct SampleSettings {
    std::int64_t max_length = 512;  ///< tokens with [CLS] and [SEP]s
    Objective objective = Objective::sop;
    double masked_fraction = 0.15;  ///< of the tokens, special ones included in the count
    int ngram = 3;                  ///< longest span; p(n) is proportional to 1 / n
    double short_fraction = 0.1;    ///< samples with a target length uniform in [2, max]
    std::uint64_t seed = 12345;
};

/// How a sample will be cut, decided from lengths alone, so that every rank can weigh every sample without its
/// residues.
struct SamplePlan {
    std::uint64_t sequence = 0;  ///< number in the corpus
    std::uint32_t epoch = 0;
    std::uint32_t first_start = 0, first_length = 0;    ///< segment A as residues of its protein (before a swap)
    std::uint32_t second_start = 0, second_length = 0;  ///< segment B as residues of its protein; length 0 for `none`
    std::uint64_t partner = 0;                          ///< protein of segment B when `second_is_other`
    bool second_is_other = false;
    bool swapped = false;
    std::int32_t sentence_label = -1;
    std::int64_t length = 0;  ///< tokens with special ones
};

/// `length` residues of sequence `sequence`; `partner` and `partner_length` are used by `nsp` alone (partner_length 0:
/// there is no other protein). With a target of max_length less its special tokens (with p = short_fraction: uniform in
/// [2, that]), a longer protein is cropped at a uniform start and cut uniformly into A and B, both of at least one
/// residue. sop: A and B are swapped with p 1/2. nsp: with p 1/2 B is a uniform crop of the partner with at most target
/// - |A| residues. A protein of one residue cannot be cut: [CLS] r [SEP] [SEP] without a sentence label.
SamplePlan plan_sample(const SampleSettings& settings, std::uint32_t epoch, std::uint64_t sequence,
                       std::uint32_t length, std::uint64_t partner, std::uint32_t partner_length);

/// Residues masked in a sample: max(1, masked_fraction * length rounded half to even), at most all of them.
std::int64_t masked_count(const SampleSettings& settings, const SamplePlan& plan);

/// Appends the sample to `batch`: assembled, masked, labelled. `residues` are the whole protein's ids, `partner` those
/// of segment B's protein (empty unless plan.second_is_other). `place`: within the step's global batch.
void append_sample(PackedBatch& batch, const SamplePlan& plan, const SampleSettings& settings,
                   const Vocabulary& vocabulary, std::span<const std::uint8_t> residues,
                   std::span<const std::uint8_t> partner, std::uint32_t place);

/// Throws InputError naming the deck's key when a setting is out of its range.
void check_sample_settings(const SampleSettings& settings);

/// Throws InputError for any other name.
Objective parse_objective(const std::string& name);  ///< "sop" "nsp" "none"
const char* objective_name(Objective objective);

}  // namespace protalbert
