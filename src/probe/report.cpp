#include "probe/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/progress.hpp"

namespace protalbert {
namespace {

using Json = nlohmann::ordered_json;

/// JSON has no NaN.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json score_json(const Score& score, const LabelKind& kind) {
    Json json;
    json["proteins"] = score.proteins;
    json["labels"] = score.rows;
    json["accuracy"] = number(score.accuracy);
    json["standard_error"] = number(score.accuracy_error);
    if (kind.count() == 2) {
        json["matthews_correlation"] = number(score.matthews);
        json["matthews_standard_error"] = number(score.matthews_error);
    }
    Json recall = Json::object();
    for (std::size_t c = 0; c < kind.classes.size(); ++c) recall[kind.classes[c]] = number(score.recall[c]);
    json["recall"] = recall;
    json["confusion"] = score.confusion;
    return json;
}

std::string percent(double value) { return std::isnan(value) ? "-" : fmt::format("{:.2f}", 100 * value); }
std::string decimal(double value) { return std::isnan(value) ? "-" : fmt::format("{:.3f}", value); }

/// One line a way to predict.
std::string score_lines(const Report& report, std::size_t k) {
    const LabelKind& kind = report.kinds[k];
    const bool two = kind.count() == 2;
    std::string text =
        fmt::format("  {:<28}{:>9}{:>8}{:>13}{:>8}", "", kind.score + " %", "error", "difference", "error");
    text += two ? fmt::format("{:>10}{:>8}\n", "Matthews", "error") : "\n";
    const Score& first = report.all.front().scores[k];
    for (std::size_t i = 0; i < report.all.size(); ++i) {
        const Score& score = report.all[i].scores[k];
        text += fmt::format("  {:<28}{:>9}{:>8}", report.all[i].name, percent(score.accuracy),
                            percent(score.accuracy_error));
        text += i == 0 ? fmt::format("{:>13}{:>8}", "", "")
                       : fmt::format("{:>13}{:>8}", fmt::format("{:+.2f}", 100 * (first.accuracy - score.accuracy)),
                                     percent(difference_error(first, score)));
        text += two ? fmt::format("{:>10}{:>8}\n", decimal(score.matthews), decimal(score.matthews_error)) : "\n";
    }
    return text;
}

/// Recall and confusion of the first way to predict.
std::string confusion_lines(const Score& score, const LabelKind& kind) {
    std::string text = fmt::format("  {:<24}{:>9}  predicted as", "label", "recall %");
    for (std::size_t c = 0; c < kind.classes.size(); ++c) text += fmt::format("{:>8}", fmt::format("({})", c + 1));
    text += '\n';
    for (std::size_t c = 0; c < kind.classes.size(); ++c) {
        text += fmt::format("  {:<24}{:>9}{:>14}", fmt::format("({}) {}", c + 1, kind.classes[c]),
                            percent(score.recall[c]), "");
        for (const std::uint64_t count : score.confusion[c]) text += fmt::format("{:>8}", count);
        text += '\n';
    }
    return text;
}

}  // namespace

std::string report_table(const Report& report) {
    std::string text;
    for (std::size_t k = 0; k < report.kinds.size(); ++k) {
        const Score& score = report.all.front().scores[k];
        text += fmt::format("{}: {} set, {} proteins", report.kinds[k].title, report.set, format_count(score.proteins));
        if (report.task == Task::secondary_structure)
            text += fmt::format(", {} residues with labels", format_count(score.rows));
        text += '\n';
        if (score.rows == 0) continue;
        text += score_lines(report, k) + confusion_lines(score, report.kinds[k]);
    }
    return text;
}

std::string report_json(const Report& report) {
    Json json;
    json["task"] = task_name(report.task);
    json["set"] = report.set;
    json["details"] = Json::parse(report.details);
    json["kinds"] = Json::object();
    for (std::size_t k = 0; k < report.kinds.size(); ++k) {
        const LabelKind& kind = report.kinds[k];
        Json entry;
        entry["title"] = kind.title;
        entry["score"] = kind.score;
        entry["classes"] = kind.classes;
        entry["results"] = Json::array();
        const Score& first = report.all.front().scores[k];
        for (std::size_t i = 0; i < report.all.size(); ++i) {
            const ScoredFeatures& way = report.all[i];
            Json result;
            result["name"] = way.name;
            if (way.features > 0) result["features"] = way.features;
            if (way.epochs > 0) {
                result["epochs"] = way.epochs;
                result["best_epoch"] = way.best_epoch;
            }
            result.update(score_json(way.scores[k], kind));
            if (i > 0) {
                result["difference"] = number(first.accuracy - way.scores[k].accuracy);
                result["difference_standard_error"] = number(difference_error(first, way.scores[k]));
            }
            entry["results"].push_back(result);
        }
        json["kinds"][kind.name] = entry;
    }
    return json.dump(2) + "\n";
}

void write_report(const std::string& path, const Report& report) {
    const std::string temporary = path + ".part";
    {
        std::ofstream file(temporary);
        file << report_json(report);
        if (!file.flush()) throw Error(fmt::format("cannot write {}{}", temporary, space_hint(temporary)));
    }
    rename_durably(temporary, path);
}

}  // namespace protalbert
