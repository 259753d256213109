#include "data/corpus_writer.hpp"

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <memory>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/log.hpp"
#include "base/progress.hpp"
#include "base/random.hpp"
#include "base/text.hpp"
#include "comm/program.hpp"
#include "comm/run_lock.hpp"
#include "data/byte_source.hpp"
#include "data/corpus_file_writer.hpp"
#include "data/failure_bell.hpp"
#include "data/spill.hpp"

namespace protalbert {

namespace fs = std::filesystem;

namespace {

/// A corpus file in the making: the corpus itself or its holdout.
struct Target {
    CorpusResult result;
    fs::path temporary;                  // renamed when complete
    std::unique_ptr<SpillWriter> spill;  // of this rank
    SpillDocument document;              // that is being read
};

/// Removes temporary outputs at the end, if they are still there.
class TemporaryOutputs {
  public:
    TemporaryOutputs(const std::vector<Target>& targets, const Communicator& communicator)
        : targets_(targets), root_(communicator.root()) {}
    ~TemporaryOutputs() {
        std::error_code error;
        if (root_)
            for (const Target& target : targets_) fs::remove(target.temporary, error);
    }
    TemporaryOutputs(const TemporaryOutputs&) = delete;
    TemporaryOutputs& operator=(const TemporaryOutputs&) = delete;

  private:
    const std::vector<Target>& targets_;
    bool root_;
};

void check_output(const CorpusSettings& settings, const fs::path& file) {
    require_writable_place(file, "output");
    std::error_code error;
    for (const std::string& input : settings.inputs)
        if (fs::equivalent(input, file, error))
            throw InputError(
                fmt::format("{} is an input and would be overwritten; choose another output", file.string()));
}

/// What the inputs are expected to hold, from their first mebibytes; pipes count nothing.
InputEstimate estimate_inputs(const std::vector<std::string>& inputs) {
    InputEstimate sum;
    for (const std::string& input : inputs) {
        const InputEstimate one = estimate_input(input);
        sum.residues += one.residues;
        sum.records += one.records;
        sum.decompressed_bytes += one.decompressed_bytes;
    }
    return sum;
}

/// Bytes of a document in a spill file, beside its residues, about; and of a sequence's tables in the output.
constexpr double spill_bytes_of_record = 52;
constexpr double table_bytes_of_record = 16;

/// Buckets so many that one is a quarter of a rank's memory at most, and each rank has several.
std::uint64_t choose_buckets(const InputEstimate& estimate, bool pipes, std::uint64_t memory, int ranks) {
    // A pipe may bring as much as UniRef100; buckets beyond need cost little, those too large are divided.
    constexpr double bytes_of_a_pipe = 1e11;
    constexpr std::uint64_t most_buckets = 4096;
    constexpr int buckets_of_a_rank = 8;
    const double bytes = estimate.residues + spill_bytes_of_record * estimate.records + (pipes ? bytes_of_a_pipe : 0.0);
    const auto wanted = static_cast<std::uint64_t>(bytes / (static_cast<double>(memory) / 4)) + 1;
    return std::min(most_buckets,
                    std::bit_ceil(std::max(wanted, static_cast<std::uint64_t>(buckets_of_a_rank * ranks))));
}

/// First pass: turns records into documents with random keys and spills them.
class DocumentCollector {
  public:
    DocumentCollector(const CorpusSettings& settings, std::vector<Target>& targets)
        : settings_(settings),
          targets_(targets),
          // Hashes below go to the holdout.
          threshold_(static_cast<std::uint64_t>(std::ldexp(settings.holdout, 64))) {}

    void add(const SequenceRecord& record, std::uint32_t file) {
        if (record.starts_document) finish_document();
        if (record.tokens.empty()) return;
        if (residues_ > 0 && residues_ + record.tokens.size() > settings_.longest_document) {
            ++cut_documents_;
            finish_document();
        }
        if (residues_ == 0) {
            file_ = file;
            position_ = record.position;
        }
        residues_ += record.tokens.size();
        Target& target = targets_[choose_target(record.tokens)];
        SpillDocument& document = target.document;
        document.lengths.push_back(static_cast<std::uint32_t>(record.tokens.size()));
        document.tokens.insert(document.tokens.end(), record.tokens.begin(), record.tokens.end());
        if (settings_.keep_ids) {
            document.id_lengths.push_back(static_cast<std::uint16_t>(record.id.size()));
            document.ids += record.id;
        }
        CorpusStatistics& statistics = target.result.statistics;
        statistics.add_sequence(record.tokens);
        statistics.longest_id = std::max<std::uint64_t>(statistics.longest_id, record.id.size());
    }

    void finish_document() {
        if (residues_ == 0) return;
        residues_ = 0;
        const std::uint64_t key = RandomStream(settings_.seed, Purpose::corpus_order, file_, position_).bits64();
        for (Target& target : targets_) {
            if (target.document.lengths.empty()) continue;
            target.document.key = key;
            target.document.file = file_;
            target.document.position = position_;
            target.spill->add(target.document);
            ++target.result.statistics.documents;
            target.document.clear();
        }
    }

    std::uint64_t cut_documents() const { return cut_documents_; }

  private:
    // By the residues alone, so that equal proteins are never on both sides.
    std::size_t choose_target(const std::vector<std::uint8_t>& tokens) const {
        if (targets_.size() == 1) return 0;
        return XXH3_64bits(tokens.data(), tokens.size()) < threshold_ ? 1 : 0;
    }

    const CorpusSettings& settings_;
    std::vector<Target>& targets_;
    std::uint64_t threshold_;
    std::uint64_t residues_ = 0;  // of the document so far
    std::uint32_t file_ = 0;
    std::uint64_t position_ = 0;
    std::uint64_t cut_documents_ = 0;
};

/// A bar for all ranks, from what rank 0 has done of its own share.
class SharedProgress {
  public:
    SharedProgress(const std::string& what, std::uint64_t mine, std::uint64_t all, const std::string& unit, bool shown)
        : mine_(mine), all_(all), bar_(what, all, unit, shown) {}
    void update(std::uint64_t done) {
        const double scale = mine_ > 0 ? static_cast<double>(all_) / static_cast<double>(mine_) : 1.0;
        bar_.update(static_cast<std::uint64_t>(scale * static_cast<double>(done)));
    }
    void finish() {
        if (all_ > 0) bar_.update(all_);
        bar_.finish();
    }

  private:
    std::uint64_t mine_, all_;
    Progress bar_;
};

std::string source_names(const std::vector<std::string>& inputs) {
    std::string names;
    for (const std::string& input : inputs)
        names +=
            fmt::format("{}{}", names.empty() ? "" : "\n", valid_utf8(fs::path(input_name(input)).filename().string()));
    return names;
}

void check_settings(const CorpusSettings& settings) {
    if (settings.inputs.empty()) throw InputError("no input: name at least one file, or - for standard input");
    if (!(settings.holdout >= 0 && settings.holdout < 1))
        throw InputError(fmt::format(
            "a holdout of {} is not possible: it is a share, from 0 to below 1, for example 0.01", settings.holdout));
}

}  // namespace

fs::path validation_path(const fs::path& output) {
    return output.parent_path() / (output.stem().string() + ".validation.h5");
}

CorpusSummary write_corpus(const CorpusSettings& settings, const Communicator& communicator) {
    const auto start = std::chrono::steady_clock::now();
    const auto seconds = [&] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    check_settings(settings);
    std::vector<Target> targets(settings.holdout > 0 ? 2 : 1);
    targets[0].result.file = settings.output;
    if (settings.holdout > 0) targets[1].result.file = validation_path(settings.output);
    for (Target& target : targets) target.temporary = target.result.file.string() + ".part";

    // 1. The outputs are this run's alone; who reads what.
    std::vector<RunLock> locks(targets.size());
    for (std::size_t i = 0; i < targets.size(); ++i)
        locks[i].take(output_place(targets[i].result.file, "--output"), true, communicator);
    std::vector<InputPart> parts;
    all_or_none(communicator, [&] {
        parts = plan_input(settings.inputs, settings.format,
                           communicator.ranks())[static_cast<std::size_t>(communicator.rank())];
    });
    InputEstimate estimate;
    on_root(communicator, [&] {
        for (const Target& target : targets) check_output(settings, target.result.file);
        estimate = estimate_inputs(settings.inputs);
        // Spill files and output exist side by side for a while.
        require_space(settings.output.parent_path(),
                      static_cast<std::uint64_t>(2 * estimate.residues +
                                                 (spill_bytes_of_record + table_bytes_of_record) * estimate.records),
                      "the corpus and its temporary files");
        for (const Target& target : targets)
            if (const int stale = remove_stale_spills(target.result.file))
                log_information(fmt::format("removed {} temporary files of an interrupted run", stale));
    });
    communicator.broadcast(&estimate, sizeof estimate, 0);
    std::uint64_t my_bytes = 0;
    bool pipes = false;
    for (InputPart& part : parts) {
        my_bytes += part.bytes;
        pipes = pipes || part.bytes == 0;
        part.text_ids = settings.keep_ids;
    }
    if (settings.keep_ids) number_lines(parts, settings.inputs.size(), communicator);
    pipes = communicator.maximum(pipes ? 1 : 0) > 0;
    std::uint64_t all_bytes = my_bytes;
    communicator.sum(&all_bytes, 1);

    // 2. First pass: records to documents in spill files.
    FailureBell bell(communicator);
    const TemporaryOutputs temporary_outputs(targets, communicator);
    const std::uint64_t buckets = choose_buckets(estimate, pipes, settings.memory, communicator.ranks());
    const std::size_t chunk_bytes = std::clamp<std::size_t>(settings.memory / 4 / buckets, 1 << 14, 1 << 20);
    CorpusSummary summary;
    {
        SharedProgress progress("reading", my_bytes, pipes ? 0 : all_bytes, "bytes",
                                settings.progress && communicator.root() && (my_bytes > 0 || pipes));
        bell.run([&] {
            for (Target& target : targets)
                target.spill =
                    std::make_unique<SpillWriter>(target.result.file, communicator.rank(), buckets, chunk_bytes);
            DocumentCollector collector(settings, targets);
            std::uint64_t bytes_before = 0, bytes_read = 0;
            for (const InputPart& part : parts) {
                read_sequences(
                    part, settings.vocabulary, settings.invalid, summary.counts,
                    [&](const SequenceRecord& record) { collector.add(record, part.file); },
                    [&](std::uint64_t bytes) {
                        bell.look();
                        bytes_read = bytes_before + bytes;
                        progress.update(bytes_read);
                    });
                collector.finish_document();
                bytes_before = bytes_read;
            }
            summary.cut_documents = collector.cut_documents();
            summary.input_bytes = my_bytes > 0 && !pipes ? my_bytes : bytes_read;
            for (Target& target : targets) target.spill->finish();
            summary.parse_seconds = seconds();
        });
        progress.finish();
    }
    combine(summary.counts, communicator);
    if (communicator.root())
        for (const std::string& line : warnings(summary.counts, settings.inputs)) log_warning(line);
    communicator.sum(&summary.cut_documents, 1);
    communicator.sum(&summary.input_bytes, 1);
    communicator.maximum(&summary.parse_seconds, 1);
    for (Target& target : targets) target.result.statistics.combine(communicator);
    if (targets[0].result.statistics.sequences + targets.back().result.statistics.sequences == 0)
        throw InputError(fmt::format("no sequences are left of {} records: {} skipped, {} without residues",
                                     summary.counts.records + summary.counts.skipped_records,
                                     summary.counts.skipped_records, summary.counts.empty_records));
    for (const Target& target : targets)
        if (target.result.statistics.sequences == 0)
            throw InputError(fmt::format("a holdout of {} leaves no sequence for {}; choose another share",
                                         settings.holdout, target.result.file.string()));

    // 3. Second pass: buckets, sorted, to the outputs.
    for (Target& target : targets) {
        CorpusDescription description;
        description.vocabulary = &settings.vocabulary;
        description.part = targets.size() == 1 ? "whole" : &target == &targets[0] ? "training" : "validation";
        description.sources = source_names(settings.inputs);
        description.holdout = settings.holdout;
        description.seed = settings.seed;
        description.ids = settings.keep_ids;
        const std::uint64_t residues = target.result.statistics.residues;
        std::unique_ptr<SharedProgress> progress;
        target.result.hash = write_corpus_file(
            target.temporary, target.result.file, *target.spill, target.result.statistics, description,
            settings.memory / 4,
            [&](std::uint64_t done, std::uint64_t mine) {
                if (!progress)
                    progress = std::make_unique<SharedProgress>("writing", mine, residues, "residues",
                                                                settings.progress && communicator.root());
                progress->update(done);
            },
            communicator, bell);
        if (progress) progress->finish();
    }

    // 4. Complete: the temporary outputs take their places.
    on_root(communicator, [&] {
        for (auto target = targets.rbegin(); target != targets.rend(); ++target)
            rename_durably(target->temporary, target->result.file);
    });
    for (Target& target : targets) {
        target.spill.reset();
        summary.files.push_back(std::move(target.result));
    }
    locks.clear();
    communicator.barrier();
    summary.seconds = seconds();
    return summary;
}

void print_summary(const CorpusSummary& summary, const Vocabulary& vocabulary) {
    const InputCounts& counts = summary.counts;
    for (const CorpusResult& result : summary.files) {
        log_information(
            fmt::format("{} {}", &result == &summary.files[0] ? "corpus      " : "validation  ", result.file.string()));
        for (const std::string& line : describe(result.statistics, vocabulary)) log_information(line);
    }
    log_information(fmt::format("input        {} records, {}", format_count(counts.records + counts.skipped_records),
                                format_bytes(static_cast<double>(summary.input_bytes))));
    const auto tell = [](std::uint64_t count, const std::string& what) {
        if (count > 0) log_information(fmt::format("  {:>12} {}", format_count(count), what));
        return count > 0;
    };
    bool any = tell(counts.replaced_residues, "residues U, Z, O or B, read as X");
    any |= tell(counts.unknown_letters, "letters that are no residues, read as X (--invalid unknown)");
    any |= tell(counts.skipped_records, "records with letters that are no residues, skipped (--invalid skip)");
    any |= tell(counts.stops, "stop signs (*) at the end of a sequence, dropped");
    any |= tell(counts.comments, "comment lines (; or #), skipped");
    any |= tell(counts.latin1_ids, "ids that are not UTF-8, read as Latin-1");
    any |= tell(counts.empty_records, "records without residues, left out");
    any |= tell(summary.cut_documents, "documents cut in two for their length");
    if (!any) log_information("  nothing was replaced, skipped or left out");
    log_information(fmt::format("time         {}, {:.1f} MB/s of input", format_duration(summary.seconds),
                                1e-6 * static_cast<double>(summary.input_bytes) / summary.seconds));
}

}  // namespace protalbert
