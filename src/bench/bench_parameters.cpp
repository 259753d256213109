// protalbert_bench parameters: how many parameters the presets have, and the tables of the ALBERT paper counted anew.

#include <fmt/format.h>

#include <cstdio>

#include "base/progress.hpp"
#include "bench/bench.hpp"
#include "model/cost.hpp"
#include "model/parameters.hpp"

namespace protalbert {
namespace {

struct Options {
    std::int64_t vocabulary = 34;
    std::string preset;
};

/// The paper's models read SentencePiece's 30,000 pieces.
constexpr std::int64_t paper_vocabulary = 30000;

struct Counts {
    std::int64_t encoder = 0;  ///< embeddings and layers
    std::int64_t pooler = 0;
    std::int64_t heads = 0;
};

Counts count(const ModelConfig& config) {
    Counts counts;
    for (const Parameter& parameter : make_parameter_layout(config).parameters) {
        (parameter.name.starts_with("albert.pooler") ? counts.pooler
         : parameter.name.starts_with("albert.")     ? counts.encoder
                                                     : counts.heads) += parameter.size;
    }
    return counts;
}

std::string grouped(std::int64_t number) { return format_count(static_cast<std::uint64_t>(number)); }

void print_presets(const Options& options, nlohmann::json& report) {
    fmt::print("Presets with a vocabulary of {}\n{:<16} {:>15} {:>15} {:>15} {:>20} {:>14}\n", options.vocabulary,
               "preset", "encoder", "with pooler", "with heads", "GFLOP/token at 512", "weights");
    for (const std::string& name : preset_names()) {
        ModelConfig config = preset(name);
        config.vocabulary = options.vocabulary;
        const Counts counts = count(config);
        const std::int64_t all = counts.encoder + counts.pooler + counts.heads;
        const double flops = forward_flops(config, 512) / 512;
        fmt::print("{:<16} {:>15} {:>15} {:>15} {:>20.3f} {:>14}\n", name, grouped(counts.encoder),
                   grouped(counts.encoder + counts.pooler), grouped(all), flops * 1e-9,
                   format_bytes(static_cast<double>(all) * sizeof(float)));
        report["presets"][name] = {{"encoder", counts.encoder},
                                   {"pooler", counts.pooler},
                                   {"heads", counts.heads},
                                   {"forward_flops_per_token", flops}};
    }
}

/// A line of the paper's tables 1, 3 and 4: its model and the number printed there, in millions.
struct PaperRow {
    const char* table;
    const char* name;
    const char* preset;
    std::int64_t embedding;
    Sharing sharing;
    double printed;
};

constexpr PaperRow paper_rows[] = {
    {"1", "BERT base", "bert_base", 768, Sharing::none, 108},
    {"1", "BERT large", "bert_large", 1024, Sharing::none, 334},
    {"1", "ALBERT base", "albert_base", 128, Sharing::all, 12},
    {"1", "ALBERT large", "albert_large", 128, Sharing::all, 18},
    {"1", "ALBERT xlarge", "albert_xlarge", 128, Sharing::all, 60},
    {"1", "ALBERT xxlarge", "albert_xxlarge", 128, Sharing::all, 235},
    {"3", "not shared", "albert_base", 64, Sharing::none, 87},
    {"3", "not shared", "albert_base", 128, Sharing::none, 89},
    {"3", "not shared", "albert_base", 256, Sharing::none, 93},
    {"3", "not shared", "albert_base", 768, Sharing::none, 108},
    {"3", "all shared", "albert_base", 64, Sharing::all, 10},
    {"3", "all shared", "albert_base", 128, Sharing::all, 12},
    {"3", "all shared", "albert_base", 256, Sharing::all, 16},
    {"3", "all shared", "albert_base", 768, Sharing::all, 31},
    {"4", "all shared", "albert_base", 768, Sharing::all, 31},
    {"4", "attention shared", "albert_base", 768, Sharing::attention, 83},
    {"4", "FFN shared", "albert_base", 768, Sharing::ffn, 57},
    {"4", "not shared", "albert_base", 768, Sharing::none, 108},
    {"4", "all shared", "albert_base", 128, Sharing::all, 12},
    {"4", "attention shared", "albert_base", 128, Sharing::attention, 64},
    {"4", "FFN shared", "albert_base", 128, Sharing::ffn, 38},
    {"4", "not shared", "albert_base", 128, Sharing::none, 89},
};

void print_paper(nlohmann::json& report) {
    fmt::print(
        "\nThe ALBERT paper's tables, counted with its 30,000 pieces, 512 positions, pooler, no heads\n"
        "{:<6} {:<18} {:>5} {:>15} {:>16}\n",
        "table", "model", "E", "counted", "paper, millions");
    for (const PaperRow& row : paper_rows) {
        ModelConfig config = preset(row.preset);
        config.vocabulary = paper_vocabulary;
        config.embedding = row.embedding;
        config.projection = config.embedding != config.hidden;
        config.sharing = row.sharing;
        const Counts counts = count(config);
        fmt::print("{:<6} {:<18} {:>5} {:>15} {:>16}\n", row.table, row.name, row.embedding,
                   grouped(counts.encoder + counts.pooler), row.printed);
        report["paper"].push_back({{"table", row.table},
                                   {"model", row.name},
                                   {"embedding", row.embedding},
                                   {"counted", counts.encoder + counts.pooler},
                                   {"printed_millions", row.printed}});
    }
}

void run(const Options& options, BenchRun& bench) {
    if (!bench.communicator.root()) return;
    if (!options.preset.empty()) {
        ModelConfig config = preset(options.preset);
        config.vocabulary = options.vocabulary;
        fmt::print("{}\n", parameter_table(make_parameter_layout(config), config));
        return;
    }
    print_presets(options, bench.report);
    print_paper(bench.report);
    bench.figure = {"encoder_parameters", bench.report["presets"]["prot_albert"]["encoder"],
                    "parameters of prot_albert"};
    std::fflush(stdout);
}

}  // namespace

BenchAction add_bench_parameters(CLI::App& command) {
    auto options = std::make_shared<Options>();
    command.add_option("--vocabulary", options->vocabulary, "pieces of the vocabulary of the presets")
        ->check(CLI::Range(1, 1 << 20))
        ->capture_default_str();
    command.add_option("--preset", options->preset, "print the parameter table of one preset instead");
    return [options](BenchRun& bench) { run(*options, bench); };
}

}  // namespace protalbert
