#include "train/metrics.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/log.hpp"

namespace protalbert {

namespace {

using Json = nlohmann::ordered_json;

/// JSON has no NaN and no infinity: null stands for them, and for a task that there is not.
Json number(double value, bool known = true) { return known ? Json(value) : Json(nullptr); }

void cut_lines_from(const std::filesystem::path& file, std::uint64_t first_step) {
    if (!std::filesystem::is_regular_file(file)) return;
    std::ifstream input(file);
    if (!input) return;
    const std::filesystem::path shorter = file.string() + ".part";
    std::ofstream output(shorter, std::ios::trunc);
    bool cut = false;
    for (std::string line; std::getline(input, line);) {
        const Json object = Json::parse(line, nullptr, false);
        const bool whole = object.is_object() && object.contains("step") && object["step"].is_number_unsigned();
        if (whole && object["step"].get<std::uint64_t>() < first_step && !input.eof())
            output << line << '\n';
        else
            cut = true;
    }
    output.close();
    if (!output) throw Error(fmt::format("cannot write {}{}", shorter.string(), space_hint(shorter)));
    if (cut)
        rename_durably(shorter, file);
    else
        std::filesystem::remove(shorter);
}

}  // namespace

MetricsFile::MetricsFile(const std::filesystem::path& file, std::uint64_t first_step) : path_(file) {
    cut_lines_from(file, first_step);
    descriptor_ = open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0)
        throw Error(fmt::format("cannot write the metrics to {}: {}", file.string(), std::strerror(errno)));
}

MetricsFile::~MetricsFile() { close(descriptor_); }

void MetricsFile::write(const StepMetrics& metrics) {
    const Losses& losses = metrics.losses;
    const Json line = {{"step", metrics.step},
                       {"samples", metrics.samples},
                       {"tokens", metrics.tokens},
                       {"loss", number(losses.total())},
                       {"mlm_loss", number(losses.masked)},
                       {"sop_loss", number(losses.sentence, losses.has_sentence)},
                       {"mlm_accuracy", losses.masked_accuracy},
                       {"sop_accuracy", number(losses.sentence_accuracy, losses.has_sentence)},
                       {"gradient_norm", number(metrics.gradient_norm)},
                       {"learning_rate", metrics.learning_rate},
                       {"seconds", metrics.seconds},
                       {"tokens_per_second", static_cast<double>(metrics.tokens) / metrics.seconds},
                       {"model_flops_per_second", metrics.flops / metrics.seconds},
                       {"skipped", metrics.skipped},
                       {"skipped_steps", metrics.skipped_steps}};
    write_line(line.dump());
}

void MetricsFile::write_validation(std::uint64_t step, const Losses& losses) {
    const Json line = {
        {"step", step},
        {"validation_loss", number(losses.total())},
        {"validation_mlm_loss", number(losses.masked)},
        {"validation_mlm_accuracy", losses.masked_accuracy},
        {"validation_sop_loss", number(losses.sentence, losses.has_sentence)},
        {"validation_sop_accuracy", number(losses.sentence_accuracy, losses.has_sentence)},
    };
    write_line(line.dump());
}

void MetricsFile::write_line(const std::string& line) {
    waiting_ += line + '\n';
    write_waiting();
}

void MetricsFile::write_waiting() {
    while (!waiting_.empty()) {
        const ssize_t count = ::write(descriptor_, waiting_.data(), waiting_.size());  // a killed job loses none
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) {
            if (!warned_)
                log_warning(fmt::format("cannot write the metrics to {}: {}{}; they wait in memory and are tried again",
                                        path_.string(), std::strerror(errno), space_hint(path_)));
            warned_ = true;
            return;
        }
        waiting_.erase(0, static_cast<std::size_t>(count));
    }
    warned_ = false;
}

void MetricsFile::sync() {
    write_waiting();
    fdatasync(descriptor_);
}

}  // namespace protalbert
