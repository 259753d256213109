// protalbert_bench io: preparing a corpus from plain FASTA in the page cache, beside what cat and wc -l do with the
// same file, and reading the corpus back; with --checkpoint, writing and reading a full-size checkpoint beside dd.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/log.hpp"
#include "base/progress.hpp"
#include "base/random.hpp"
#include "bench/bench.hpp"
#include "bench/bench_proteins.hpp"
#include "bench/scratch_folder.hpp"
#include "comm/program.hpp"
#include "data/corpus.hpp"
#include "data/corpus_writer.hpp"
#include "data/epoch_order.hpp"
#include "io/checkpoint.hpp"
#include "model/model_config.hpp"
#include "model/parameters.hpp"

namespace protalbert {
namespace {

namespace fs = std::filesystem;

struct Options {
    std::string input;
    std::string proteins;
    std::string folder = fs::temp_directory_path().string();
    std::uint64_t megabytes = 400;
    int repeats = 3;
    bool checkpoint = false;
};

/// Time of one piece of work over all ranks.
struct Timing {
    double seconds = 0;    ///< of the slowest rank
    double processor = 0;  ///< of all ranks together: what remains of noise on a shared machine is not in it
};

double processor_seconds() {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// Median time of `work` on all ranks.
Timing measure(int repeats, const Communicator& communicator, const std::function<void()>& work,
               const std::function<void()>& before = {}) {
    std::vector<double> seconds, processor;
    for (int i = 0; i < repeats; ++i) {
        if (before) before();
        communicator.barrier();
        const auto start = std::chrono::steady_clock::now();
        const double processor_start = processor_seconds();
        work();
        double time = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        double used = processor_seconds() - processor_start;
        communicator.maximum(&time, 1);
        communicator.sum(&used, 1);
        seconds.push_back(time);
        processor.push_back(used);
    }
    return {median(seconds), median(processor)};
}

/// FASTA as UniProt writes it: one header line, residues in lines of 60, proteins again and again with new ids.
void write_fasta(const fs::path& file, const std::vector<std::vector<std::uint8_t>>& proteins,
                 const Vocabulary& vocabulary, std::uint64_t bytes) {
    constexpr std::size_t line_length = 60;
    std::ofstream stream(file, std::ios::binary);
    std::string text;
    std::uint64_t written = 0;
    for (std::uint64_t number = 0; written < bytes; ++number) {
        const std::vector<std::uint8_t>& protein = proteins[number % proteins.size()];
        text = fmt::format(">UniRef100_A{:09} Protein n=1 Tax=Escherichia coli TaxID=562 RepID=A{:09}_ECOLX\n", number,
                           number);
        for (std::size_t begin = 0; begin < protein.size(); begin += line_length) {
            const std::size_t end = std::min(begin + line_length, protein.size());
            for (std::size_t i = begin; i < end; ++i) text += vocabulary.pieces[protein[i]];
            text += '\n';
        }
        stream.write(text.data(), static_cast<std::streamsize>(text.size()));
        written += text.size();
    }
    if (!stream.flush()) throw Error(fmt::format("cannot write {}{}", file.string(), space_hint(file)));
}

/// Seconds of a shell command on rank 0.
Timing measure_command(const std::string& command, int repeats, const Communicator& communicator) {
    return measure(repeats, communicator, [&] {
        on_root(communicator, [&] {
            if (std::system(command.c_str()) != 0) throw Error("this command failed: " + command);
        });
    });
}

void read_corpus(const Corpus& corpus, const Communicator& communicator) {
    // As training reads: this rank's index, then its blocks.
    const EpochOrder order = make_epoch_order(corpus.sequences(), corpus.residues(), 0);
    const Range own = read_by(order, communicator.rank(), communicator.ranks());
    const CorpusIndex index = corpus.read_index(own.first, own.count);
    Corpus::Piece piece;
    for (std::uint64_t first = own.first; first < own.first + own.count; first += order.sequences_per_block)
        corpus.read(index, first, std::min(order.sequences_per_block, own.first + own.count - first), piece);
}

class Report {
  public:
    Report(BenchRun& bench, double bytes) : bench_(bench), bytes_(bytes) {
        bench_.report["io"]["fasta_bytes"] = bytes;
        bench_.report["io"]["ranks"] = bench.communicator.ranks();
        log_information(
            fmt::format("{:<28} {:>9} {:>16} {:>26}", "", "seconds", "MB/s per rank", "MB/s per processor second"));
    }
    /// `ranks`: that shared the work.
    void line(const std::string& what, const std::string& key, const Timing& timing, int ranks, bool own_process) {
        const double rate = 1e-6 * bytes_ / ranks / timing.seconds;
        const double processor_rate = 1e-6 * bytes_ / timing.processor;
        log_information(fmt::format("{:<28} {:>9.3f} {:>16.0f} {:>26}", what, timing.seconds, rate,
                                    own_process ? fmt::format("{:.0f}", processor_rate) : ""));
        bench_.report["io"][key] = {{"seconds", timing.seconds}, {"megabytes_per_second_per_rank", rate}};
        if (own_process) bench_.report["io"][key]["megabytes_per_processor_second"] = processor_rate;
    }

  private:
    BenchRun& bench_;
    double bytes_;
};

/// ProtAlbert's parameters and moments written and read as training does, in turn with dd of as many bytes.
void run_checkpoint(const Options& options, const fs::path& folder, BenchRun& bench) {
    const Communicator& communicator = bench.communicator;
    const ModelConfig config = preset("prot_albert");
    const ParameterLayout layout = make_parameter_layout(config);
    std::vector<std::vector<float>> values(3, std::vector<float>(static_cast<std::size_t>(layout.size)));
    RandomStream random(1, Purpose::bench, 0, 0);
    for (std::vector<float>& array : values)
        for (float& value : array) value = static_cast<float>(random.below(1 << 24));
    const auto named = [&](std::vector<float>& array) {
        std::vector<NamedArray> arrays;
        for (const Parameter& parameter : layout.parameters)
            arrays.push_back({parameter.name, parameter.shape, array.data() + parameter.offset});
        return arrays;
    };
    const CheckpointArrays arrays{named(values[0]), named(values[1]), named(values[2])};
    CheckpointHeader header;
    header.vocabulary = default_vocabulary().pieces;
    const fs::path file = folder / checkpoint_name(0), plain = folder / "dd";
    const std::uint64_t bytes = 3 * static_cast<std::uint64_t>(layout.count()) * sizeof(float);
    on_root(communicator, [&] { require_space(folder, 2 * bytes, "the benchmark's files"); });
    log_information(fmt::format("a checkpoint of {} ({} bytes), {} rank{}, in turn with dd; medians of {} runs",
                                format_bytes(static_cast<double>(bytes)), bytes, communicator.ranks(),
                                communicator.ranks() > 1 ? "s" : "", options.repeats));
    const std::string dd = fmt::format("dd if=/dev/zero of='{}' bs=1M count={} conv=fsync 2> /dev/null", plain.string(),
                                       (bytes + (1 << 20) - 1) >> 20);
    // As in a run, the file is a new one each time; so is dd's. Both come to lie where the one before lay: a virtual
    // disk takes several times as long for blocks that it has never held, hence also the untimed first round.
    const auto remove = [&](const fs::path& old) { on_root(communicator, [&] { fs::remove(old); }); };
    std::vector<double> dd_seconds, write_seconds, read_seconds;
    for (int i = 0; i <= options.repeats; ++i) {
        const double dd_time = measure_command(dd, 1, communicator).seconds;
        remove(plain);
        const double write_time =
            measure(1, communicator, [&] { write_checkpoint(file, header, arrays, communicator); }).seconds;
        const double read_time = measure(1, communicator, [&] { read_checkpoint(file, arrays, communicator); }).seconds;
        remove(file);
        if (i == 0) continue;
        dd_seconds.push_back(dd_time);
        write_seconds.push_back(write_time);
        read_seconds.push_back(read_time);
    }
    const auto line = [&](const char* what, const char* key, const std::vector<double>& seconds) {
        const double rate = 1e-6 * static_cast<double>(bytes) / median(seconds);
        log_information(fmt::format("{:<52} {:>8.2f} s {:>8.0f} MB/s", what, median(seconds), rate));
        bench.report["checkpoint"][key] = {{"seconds", median(seconds)}, {"megabytes_per_second", rate}};
    };
    line("dd bs=1M conv=fsync", "dd", dd_seconds);
    line("checkpoint written, synced, read back, renamed", "write", write_seconds);
    line("checkpoint read and verified, from the page cache", "read", read_seconds);
    const double share = median(dd_seconds) / median(write_seconds);
    log_information(fmt::format("{:.0f} % of dd's rate", 100 * share));
    bench.report["checkpoint"]["bytes"] = bytes;
    bench.report["checkpoint"]["share_of_dd"] = share;
    bench.figure = {"checkpoint_write_bytes_per_second",
                    static_cast<double>(bytes) / median(write_seconds),
                    "bytes/s",
                    {{"share_of_dd", share}}};
}

void run_io(const Options& options, BenchRun& bench) {
    const Communicator& communicator = bench.communicator;
    const Vocabulary vocabulary = default_vocabulary();
    const std::uint64_t made_bytes = options.checkpoint || !options.input.empty() ? 0 : 4 * options.megabytes * 1000000;
    const ScratchFolder scratch(options.folder, made_bytes, communicator);
    const fs::path& folder = scratch.path();
    const fs::path fasta = options.input.empty() ? folder / "proteins.fasta" : fs::path(options.input);
    on_root(communicator, [&] {
        if (options.checkpoint) return;
        if (!options.input.empty()) return require_readable_file(fasta, "input");
        constexpr std::uint64_t proteins = 20000, longest = 40000;
        const std::uint64_t bytes = options.megabytes * 1000000;
        write_fasta(fasta, bench_proteins(options.proteins, proteins, longest, false, vocabulary), vocabulary, bytes);
    });
    if (options.checkpoint) return run_checkpoint(options, folder, bench);
    const auto bytes = static_cast<double>(fs::file_size(fasta));
    log_information(fmt::format("{} of FASTA, {} rank{}; medians of {} runs from the page cache", format_bytes(bytes),
                                communicator.ranks(), communicator.ranks() > 1 ? "s" : "", options.repeats));
    Report report(bench, bytes);
    const std::string quoted = "'" + fasta.string() + "'";
    report.line("cat FILE > /dev/null", "cat",
                measure_command("cat " + quoted + " > /dev/null", options.repeats, communicator), 1, false);
    report.line("wc -l FILE", "wc", measure_command("wc -l " + quoted + " > /dev/null", options.repeats, communicator),
                1, false);

    const auto plan = plan_input({fasta.string()}, InputFormat::fasta, communicator.ranks());
    const Timing parsing = measure(options.repeats, communicator, [&] {
        InputCounts counts;
        for (const InputPart& part : plan[static_cast<std::size_t>(communicator.rank())])
            read_sequences(part, vocabulary, InvalidLetters::error, counts, [](const SequenceRecord&) {});
    });
    report.line("parsing", "parse", parsing, communicator.ranks(), true);

    CorpusSettings settings;
    settings.inputs = {fasta.string()};
    settings.output = folder / "corpus.h5";
    settings.vocabulary = vocabulary;
    settings.progress = false;
    std::vector<double> first_pass;
    const Timing whole = measure(options.repeats, communicator,
                                 [&] { first_pass.push_back(write_corpus(settings, communicator).parse_seconds); });
    report.line("first pass: to spill files", "first_pass", {median(first_pass), 0}, communicator.ranks(), false);
    report.line("whole preparation, on disk", "prepare", whole, communicator.ranks(), true);

    const Corpus corpus(settings.output.string(), communicator);
    const Timing reading = measure(
        options.repeats, communicator, [&] { read_corpus(corpus, communicator); },
        [&] { on_root(communicator, [&] { forget_pages(settings.output); }); });
    log_information(
        fmt::format("reading the corpus of {} residues from the disk, in blocks of 1.25 MiB: {:.2f} GB/s per rank",
                    format_count(corpus.residues()),
                    1e-9 * static_cast<double>(corpus.residues()) / communicator.ranks() / reading.seconds));
    bench.report["io"]["read_corpus"] = {
        {"seconds", reading.seconds},
        {"gigabytes_per_second_per_rank",
         1e-9 * static_cast<double>(corpus.residues()) / communicator.ranks() / reading.seconds}};
    communicator.barrier();
    bench.figure = {"prepare_bytes_per_second",
                    bytes / whole.seconds,
                    "bytes of FASTA/s",
                    {{"parse_bytes_per_second", bytes / parsing.seconds}}};
}

}  // namespace

BenchAction add_bench_io(CLI::App& command) {
    const auto options = std::make_shared<Options>();
    command.add_option("--input", options->input, "plain FASTA to prepare as it is; without it a file is made");
    command.add_option(
        "--proteins", options->proteins,
        "sequence file whose first 20,000 proteins are repeated under new ids; random proteins without it");
    command.add_option("--megabytes", options->megabytes, "size of the file that is made")
        ->check(CLI::Range(1, 1000000))
        ->capture_default_str();
    command.add_option("--folder", options->folder, "where the files are made and removed again")
        ->capture_default_str();
    command.add_option("--repeats", options->repeats, "runs of which the median counts")
        ->check(CLI::Range(1, 100))
        ->capture_default_str();
    command.add_flag("--checkpoint", options->checkpoint,
                     "instead: a checkpoint of ProtAlbert's size, written and read, beside dd");
    return [options](BenchRun& bench) { run_io(*options, bench); };
}

}  // namespace protalbert
