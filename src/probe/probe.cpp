#include "probe/probe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/log.hpp"
#include "base/progress.hpp"
#include "base/text.hpp"
#include "comm/local_gpu.hpp"
#include "comm/program.hpp"
#include "comm/run_lock.hpp"
#include "probe/encoder_features.hpp"
#include "probe/evaluation.hpp"
#include "probe/head_file.hpp"
#include "probe/label_checks.hpp"
#include "probe/left_out.hpp"
#include "probe/output_place.hpp"
#include "probe/report.hpp"

namespace protalbert {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Files that are removed when the work is done; after a failure they stay for the next call.
class ScratchFiles {
  public:
    explicit ScratchFiles(const Communicator& communicator) : communicator_(communicator) {}
    std::string add(const std::string& path) { return paths_.emplace_back(path); }
    void remove() {
        communicator_.barrier();
        std::error_code ignored;
        for (const std::string& path : paths_)
            if (communicator_.root()) fs::remove(path, ignored);
        paths_.clear();
    }

  private:
    const Communicator& communicator_;
    std::vector<std::string> paths_;
};

void report_proteins(const LabelledProteins& proteins) {
    const auto count = [&](Split split) { return format_count(proteins.members(split).size()); };
    log_information(fmt::format("{}: {} proteins to train on, {} for validation, {} for the test", proteins.file,
                                count(Split::train), count(Split::validation), count(Split::test)));
    for (std::size_t k = 0; k < proteins.kinds.size(); ++k) {
        std::uint64_t labelled = 0, rows = 0;
        for (const Split split : {Split::train, Split::validation, Split::test}) {
            labelled += labelled_rows(proteins, k, proteins.members(split));
            rows += static_cast<std::uint64_t>(row_count(proteins, proteins.members(split)));
        }
        log_information(fmt::format("  {}: {} labels of {} {}", proteins.kinds[k].title, format_count(labelled),
                                    format_count(rows),
                                    proteins.task == Task::secondary_structure ? "residues" : "proteins"));
    }
}

std::vector<std::string> files_read(const ProbeOptions& options) {
    const LabelFiles& labels = options.labels;
    return {labels.three_state,
            labels.eight_state,
            labels.disorder,
            labels.mask,
            labels.localization,
            options.vectors.embeddings,
            options.vectors.checkpoint,
            options.vectors.proteins};
}

/// Throws InputError where the residues come from a pipe: they are read for labels, baselines and vectors.
void require_rereadable(const ProbeOptions& options) {
    std::error_code ignored;
    for (const std::string& path : {options.vectors.proteins, options.labels.localization})
        if (path == "-" || (fs::exists(path, ignored) && !fs::is_regular_file(path, ignored)))
            throw InputError(fmt::format(
                "{} can be read once, but proteins are read several times; write them into a file and name that",
                path == "-" ? "standard input (-)" : path));
}

/// What gives vectors in an embeddings file to long proteins.
constexpr const char* windows_remedy = "protalbert_embed --too-long window takes long proteins in";

/// Leaves out what has no vectors; everything that follows sees the proteins that are left.
void keep_embedded(LabelledProteins& proteins, const Features& features, const ProbeOptions& options,
                   const std::vector<Split>& sets, const std::function<std::string()>& remedy,
                   const Communicator& communicator) {
    if (features.missing.empty()) return;
    leave_out(proteins, features.missing, remedy(), communicator);
    hold_out_validation(proteins, options.validation_share, options.settings.seed);
    report_proteins(proteins);
    warn_of_missing_classes(proteins, sets, communicator);
}

Json settings_json(const ProbeOptions& options, const LabelledProteins& proteins) {
    Json json;
    json["labels"] = valid_utf8(proteins.file);
    json["vectors"] =
        valid_utf8(options.vectors.embeddings.empty() ? options.vectors.checkpoint : options.vectors.embeddings);
    json["piece_length"] = options.vectors.piece_length;
    json["learning_rate"] = options.settings.learning_rate;
    json["batch"] = options.settings.batch;
    json["epochs"] = options.settings.epochs;
    json["patience"] = options.settings.patience;
    json["seed"] = options.settings.seed;
    for (const Split split : {Split::train, Split::validation, Split::test})
        json[split == Split::train        ? "training_proteins"
             : split == Split::validation ? "validation_proteins"
                                          : "test_proteins"] = proteins.members(split).size();
    json["proteins_without_vectors"] = proteins.members(Split::none).size();
    json["program"] = program_version();
    return json;
}

std::vector<Score> score_all(const LabelledProteins& proteins, const std::vector<std::uint32_t>& numbers,
                             const std::vector<std::vector<std::uint8_t>>& classes, std::uint64_t seed) {
    std::vector<Score> scores;
    for (std::size_t k = 0; k < proteins.kinds.size(); ++k)
        scores.push_back(score_predictions(proteins, k, numbers, classes[k], seed));
    return scores;
}

ScoredFeatures majority(const LabelledProteins& proteins, const std::vector<std::uint32_t>& numbers,
                        std::uint64_t seed) {
    std::vector<std::vector<std::uint8_t>> classes;
    for (std::size_t k = 0; k < proteins.kinds.size(); ++k) classes.push_back(majority_classes(proteins, k, numbers));
    return {"majority class", 0, 0, 0, score_all(proteins, numbers, classes, seed)};
}

/// Trains and scores a head on some features; `trained` (may be null) gets the head.
ScoredFeatures train_and_score(const std::string& name, const Features& features, const LabelledProteins& proteins,
                               const std::vector<std::uint32_t>& numbers, const ProbeSettings& settings,
                               Backend& backend, const Communicator& communicator, TrainedHead* trained) {
    const HeadConfig config = head_config(proteins.task, features.count, proteins.kinds);
    TrainedHead result = train_head(name, config, features, proteins, settings, backend, communicator);
    log_information(fmt::format("{}: {} epochs, the best is {}", name, result.epochs, result.best_epoch));
    const Head head = make_head(config, result.values, backend);
    const Evaluation evaluation = evaluate_head(head, features, proteins, numbers, communicator);
    ScoredFeatures scored{name, features.count, result.epochs, result.best_epoch,
                          score_all(proteins, numbers, evaluation.classes, settings.seed)};
    if (trained != nullptr) *trained = std::move(result);
    return scored;
}

void publish(const Report& report, const std::string& path, const Communicator& communicator) {
    log_information(fmt::format("scores\n{}", report_table(report)));
    if (path.empty()) return;
    on_root(communicator, [&] { write_report(path, report); });
    log_information(fmt::format("{} holds these scores", path));
}

}  // namespace

int train_probe(ProbeOptions options, const Communicator& communicator) {
    // 1. Labels, and a place for what will be written, before anything long.
    on_root(communicator, [&] {
        require_rereadable(options);
        std::vector<std::string> others = files_read(options);
        require_writable_place(options.head, "head");
        require_apart(options.head, "--output", others);
        if (options.report.empty()) return;
        require_writable_place(options.report, "report");
        others.push_back(options.head);
        require_apart(options.report, "--report", others);
    });
    RunLock head_lock, report_lock;
    head_lock.take(output_place(options.head, "--output"), true, communicator);
    if (!options.report.empty()) report_lock.take(output_place(options.report, "--report"), true, communicator);
    LabelledProteins proteins = with_training_labels(
        read_labels(options.task, options.labels, options.validation_share, options.settings.seed, communicator),
        communicator);
    report_proteins(proteins);
    warn_of_missing_classes(proteins, {Split::train, Split::test}, communicator);
    if (proteins.members(Split::test).empty() && communicator.root())
        log_warning(fmt::format("{}: no protein is for the test (SET=test{}): the head will have no scores",
                                proteins.file,
                                options.task == Task::localization ? ", or the word test behind the location" : ""));
    if (options.vectors.proteins.empty() && options.task == Task::localization)
        options.vectors.proteins = options.labels.localization;
    // Stored vectors are of whole proteins, as far as anyone knows.
    if (!options.vectors.embeddings.empty()) options.vectors.piece_length = 0;
    std::shared_ptr<const Residues> residues;
    if (!options.vectors.proteins.empty() && (options.baselines || options.vectors.embeddings.empty())) {
        residues = std::make_shared<const Residues>(read_residues(options.vectors.proteins, proteins, communicator));
        take_lengths(proteins, *residues);
    }
    const std::unique_ptr<Backend> backend = make_rank_backend(options.device, Precision::float32, communicator);

    // 2. The encoder's vectors, and a head on them.
    ScratchFiles scratch(communicator);
    const std::string embeddings = options.vectors.embeddings.empty() ? scratch.add(options.head + ".embeddings") : "";
    const Features features = encoder_features(options.vectors, embeddings, options.device, proteins, communicator);
    keep_embedded(
        proteins, features, options, {Split::train, Split::test},
        [&]() -> std::string {
            if (options.vectors.embeddings.empty())
                return fmt::format("--piece-length N takes long proteins in, with N of {} or less",
                                   encoder_residues(options.vectors.checkpoint, communicator));
            return std::string(windows_remedy) +
                   ", and so does train with --checkpoint, --proteins and --piece-length N in place of --embeddings";
        },
        communicator);
    proteins = with_training_labels(proteins, communicator);
    const std::vector<std::uint32_t> test = proteins.members(Split::test);
    Report report{options.task, "test", proteins.kinds, {}, settings_json(options, proteins).dump()};
    TrainedHead trained;
    report.all.push_back(
        train_and_score("encoder", features, proteins, test, options.settings, *backend, communicator, &trained));
    Json training = settings_json(options, proteins);
    training["best_epoch"] = trained.best_epoch;
    training["validation_loss"] = trained.validation_loss;
    write_head(options.head,
               {head_config(options.task, features.count, proteins.kinds), trained.values, features.encoder,
                features.checkpoint_hash, options.vectors.piece_length, training.dump()},
               communicator);
    log_information(fmt::format("{} holds the head", options.head));

    // 3. Baselines under the same head and budget.
    if (options.baselines && residues)
        report.all.push_back(train_and_score("one-hot residues", one_hot_features(residues, options.task), proteins,
                                             test, options.settings, *backend, communicator, nullptr));
    if (options.baselines && options.vectors.embeddings.empty()) {
        VectorSource untrained = options.vectors;
        untrained.checkpoint = scratch.add(options.head + ".untrained");
        write_untrained_checkpoint(options.vectors.checkpoint, options.settings.seed, untrained.checkpoint,
                                   communicator);
        const Features initial = encoder_features(untrained, scratch.add(options.head + ".untrained.embeddings"),
                                                  options.device, proteins, communicator);
        report.all.push_back(train_and_score("untrained encoder", initial, proteins, test, options.settings, *backend,
                                             communicator, nullptr));
    }
    report.all.push_back(majority(proteins, test, options.settings.seed));

    // 4. The scores.
    if (test.empty())
        log_information("no protein is for the test: nothing to score");
    else
        publish(report, options.report, communicator);
    scratch.remove();
    return exit_done;
}

int evaluate_probe(const ProbeOptions& options, const Communicator& communicator) {
    const HeadFile file = read_head(options.head, communicator);
    if (file.config.task != options.task)
        throw InputError(fmt::format("{} is a head for --task {}", options.head, task_name(file.config.task)));
    on_root(communicator, [&] { require_rereadable(options); });
    const Split split = options.set == "train"        ? Split::train
                        : options.set == "validation" ? Split::validation
                                                      : Split::test;
    const bool computed = options.vectors.embeddings.empty();
    const std::string base = options.report.empty() ? options.head + ".evaluate" : options.report;
    RunLock lock;
    if (computed || !options.report.empty()) {
        on_root(communicator, [&] {
            std::vector<std::string> others = files_read(options);
            others.push_back(options.head);
            require_writable_place(base, "report");
            require_apart(base, "--report", others);
        });
        lock.take(output_place(base, "--report"), true, communicator);
    }
    LabelledProteins proteins =
        read_labels(options.task, options.labels, options.validation_share, options.settings.seed, communicator);
    report_proteins(proteins);
    warn_of_missing_classes(proteins, {split}, communicator);
    VectorSource source = options.vectors;
    source.piece_length = computed ? file.piece_length : 0;
    if (source.proteins.empty()) source.proteins = options.labels.localization;
    if (computed) take_lengths(proteins, read_residues(source.proteins, proteins, communicator));
    const std::unique_ptr<Backend> backend = make_rank_backend(options.device, Precision::float32, communicator);
    ScratchFiles scratch(communicator);
    const std::string embeddings = computed ? scratch.add(base + ".embeddings") : "";
    const Features features = encoder_features(source, embeddings, options.device, proteins, communicator);
    check_features(file, options.head, features.count, features.checkpoint_hash, features.description, communicator);
    keep_embedded(
        proteins, features, options, {split},
        [&] {
            return computed ? "a head that was trained with --piece-length N takes long proteins in" : windows_remedy;
        },
        communicator);

    const std::vector<std::uint32_t> numbers = proteins.members(split);
    if (numbers.empty())
        throw InputError(fmt::format("{} has no protein of the {} set{}; choose another with --set", proteins.file,
                                     options.set, features.missing.empty() ? "" : " that has vectors"));
    const Head head = make_head(file.config, file.values, *backend);
    const LabelledProteins known = labels_of_kinds(proteins, file.config.kinds);
    const Evaluation evaluation = evaluate_head(head, features, known, numbers, communicator);
    Report report{options.task, options.set, known.kinds, {}, settings_json(options, known).dump()};
    report.all.push_back(
        {"encoder", features.count, 0, 0, score_all(known, numbers, evaluation.classes, options.settings.seed)});
    report.all.push_back(majority(known, numbers, options.settings.seed));
    publish(report, options.report, communicator);
    scratch.remove();
    return exit_done;
}

}  // namespace protalbert
