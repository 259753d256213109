#pragma once
// The scores of a head beside its baselines, for people and for programs.

#include <string>
#include <vector>

#include "probe/labels.hpp"
#include "probe/scores.hpp"

namespace protalbert {

/// Scores of one way to predict.
struct ScoredFeatures {
    std::string name;           ///< "encoder", "one-hot residues", "untrained encoder", "majority class"
    std::int64_t features = 0;  ///< D; 0 without a head
    std::int64_t epochs = 0;    ///< trained, 0: not in this call
    std::int64_t best_epoch = 0;
    std::vector<Score> scores;  ///< [K]
};

struct Report {
    Task task = Task::secondary_structure;
    std::string set;               ///< "test"
    std::vector<LabelKind> kinds;  ///< [K]
    /// What the report is about first, then its baselines.
    std::vector<ScoredFeatures> all;
    std::string details;  ///< JSON object of everything else: files, settings
};

/// A table a kind: scores with standard errors, differences, the first one's recall and confusion.
std::string report_table(const Report& report);
std::string report_json(const Report& report);

/// Writes the JSON to a temporary name and renames it. By one rank.
void write_report(const std::string& path, const Report& report);

}  // namespace protalbert
